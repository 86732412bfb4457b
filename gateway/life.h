// What a gateway's main thread waits for, and how it says what went wrong.
#pragma once

#include <atomic>
#include <chrono>
#include <mutex>
#include <string>

namespace shardline {

// Signals, and news from the supervisors.
class Life {
 public:
  // Before any other thread starts: they inherit the blocked signals.
  Life();
  ~Life();

  void Ready() {
    ready_ = true;
    Wake();
  }
  void DrainAsked() { Wake(); }
  void GaveUp(int exit_code, std::string why);

  // Waits for news, a signal, or the time.
  void Wait(std::chrono::milliseconds timeout);

  int stops() const { return stops_; }  // SIGTERM and SIGINT so far
  bool ready() const { return ready_; }
  int exit_code() const { return exit_code_; }  // 0: the supervisors go on
  std::string why();

 private:
  void Wake();

  int signals_ = -1, news_ = -1;
  int stops_ = 0;  // the main thread's
  std::atomic<bool> ready_{false};
  std::atomic<int> exit_code_{0};
  std::mutex mutex_;
  std::string why_;
};

// Says the line, if there is one, on standard error; the code.
int Fail(int code, const std::string& line);

}  // namespace shardline
