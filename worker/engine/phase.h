// A part of a step, as the trace shows it: from construction to destruction. Private to the engine.
#pragma once

#include "worker/engine/engine.h"

namespace shardline {

class Engine::Phase {
 public:
  Phase(const Engine& engine, const char* name)
      : trace_(engine.options_.trace), port_(engine.port_), name_(name) {
    if (trace_ != nullptr) started_ = port_.NowNs();
  }
  ~Phase() {
    if (trace_ != nullptr) trace_->Span(name_, started_, port_.NowNs());
  }
  Phase(const Phase&) = delete;
  Phase& operator=(const Phase&) = delete;

 private:
  Trace* const trace_;
  Port& port_;
  const char* const name_;
  uint64_t started_ = 0;
};

}  // namespace shardline
