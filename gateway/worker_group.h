// One worker group as the router sees it: the ranks of a replica behind one port, what they last
// said, and what they have been given. The router's lock guards it.
#pragma once

#include <algorithm>
#include <cstdint>
#include <memory>

#include "gateway/live_request.h"
#include "shared/ipc/message.h"

namespace shardline {

// Where the router's messages go. None of these may block; what a dead worker does not get is lost
// with it.
class WorkerPort {
 public:
  virtual ~WorkerPort() = default;
  virtual void Send(const Submit& message) = 0;
  virtual void Send(const Cancel& message) = 0;
  virtual void Send(const Pause& message) = 0;
  virtual void Send(const Resume& message) = 0;
};

struct WorkerGroup {
  std::shared_ptr<WorkerPort> port;  // null: it does not serve
  Ready ready;                       // of the last worker that was
  StepReport report{};               // zero before the first
  uint64_t committed_blocks = 0;     // what the running requests' tokens fill
  uint64_t last_progress_ns = 0;
  uint32_t running = 0;                              // requests
  uint32_t running_outputs = 0, paused_outputs = 0;  // those that have not finished

  bool serves() const { return port != nullptr; }
  bool has_work() const { return running_outputs > paused_outputs; }
  uint64_t block_tokens() const { return std::max<uint32_t>(1, ready.header.block_tokens); }
  uint64_t Blocks(uint64_t tokens) const { return (tokens + block_tokens() - 1) / block_tokens(); }

  void Serve(std::shared_ptr<WorkerPort> new_port, const Ready& said) {
    port = std::move(new_port);
    ready = said;
    report = {};
    report.epoch = said.header.epoch;
    report.free_sequences = said.header.max_sequences;
    report.kv_blocks_total = said.header.kv_blocks_total;
  }
  void Lose() {
    port = nullptr;
    report.running_sequences = report.waiting_sequences = report.free_sequences = 0;
    report.kv_blocks_used = 0;
  }

  uint64_t UsedBlocks() const { return std::max(committed_blocks, report.kv_blocks_used); }

  // There is room when nothing that the workers could run waits there, a sequence slot is free, and
  // the cache holds the prompt and a token beside what the running requests fill. Of several
  // outputs one must fit: the others wait there.
  bool HasRoom(const LiveRequest& request) const {
    if (!serves()) return false;
    if (running == 0) return true;  // what does not fit an empty worker never will: let it say so
    if (report.waiting_sequences > paused_outputs ||
        running_outputs >= ready.header.max_sequences) {
      return false;
    }
    return UsedBlocks() + Blocks(request.prompt_tokens() + 1) <= ready.header.kv_blocks_total;
  }

  // 0 idle, 1 full: of sequence slots or of the cache, whichever is scarcer.
  double Load() const {
    const auto share = [](uint64_t part, uint64_t whole) {
      return static_cast<double>(part) / static_cast<double>(std::max<uint64_t>(1, whole));
    };
    return std::max(share(running_outputs, ready.header.max_sequences),
                    share(UsedBlocks(), ready.header.kv_blocks_total));
  }

  // What the request's outputs fill: whole blocks of the prompt once, the rest for each.
  uint64_t BlocksOf(const LiveRequest& request) const {
    const uint64_t prompt = request.prompt_tokens();
    const uint64_t shared = request.outputs.size() > 1 ? (prompt - 1) / block_tokens() : 0;
    uint64_t blocks = shared;
    for (const LiveRequest::Output& output : request.outputs) {
      if (!output.finished) blocks += Blocks(prompt + output.tokens + 1) - shared;
    }
    return blocks;
  }
  void CountBlocks(LiveRequest& request) {
    const uint64_t blocks = BlocksOf(request);
    committed_blocks += blocks - request.blocks;
    request.blocks = blocks;
  }
};

}  // namespace shardline
