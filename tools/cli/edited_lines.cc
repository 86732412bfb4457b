// Line editing by libedit. Its read function is ours: it waits for a key or a signal, whichever
// comes first, so that Ctrl-C is a return value and not a jump out of a handler.
#include <histedit.h>
#include <poll.h>
#include <signal.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <cerrno>
#include <clocale>
#include <cstdio>
#include <cstdlib>
#include <cwchar>

#include "shared/base/strings.h"
#include "tools/cli/input.h"
#include "tools/cli/interrupt.h"
#include "tools/cli/line_source.h"

namespace shardline::cli {
namespace {

constexpr int kHistoryLines = 1000;
constexpr char kInvisible = '\1';  // stands around what takes no room in the prompt

class Edited : public LineSource {
 public:
  Edited(bool on_output, bool colours);
  ~Edited() override;
  LineEnd Next(const std::string& prompt, std::string& line) override;

 private:
  static Edited& Of(EditLine* edit) {
    void* self = nullptr;
    el_get(edit, EL_CLIENTDATA, &self);
    return *static_cast<Edited*>(self);
  }
  static char* Prompt(EditLine* edit) { return Of(edit).prompt_.data(); }
  // el_rfunc_t: 1 with a character, 0 at the end, -1 to give the line up.
  static int Read(EditLine* edit, wchar_t* character) { return Of(edit).ReadKey(*character); }
  int ReadKey(wchar_t& character);
  // One byte; the same results.
  int ReadByte(char& byte);

  bool colours_;
  int signals_;
  EditLine* edit_;
  History* history_;
  std::string prompt_;
  LineEnd end_ = LineEnd::kEnd;
};

Edited::Edited(bool on_output, bool colours) : colours_(colours) {
  // Keys arrive in UTF-8 whatever the environment says.
  if (std::setlocale(LC_CTYPE, "") == nullptr || MB_CUR_MAX == 1) {
    std::setlocale(LC_CTYPE, "C.UTF-8");
  }
  const SignalsHeld held;
  signals_ = signalfd(-1, &held.signals(), SFD_CLOEXEC | SFD_NONBLOCK);
  history_ = history_init();
  HistEvent event;
  history(history_, &event, H_SETSIZE, kHistoryLines);
  history(history_, &event, H_SETUNIQUE, 1);
  edit_ = el_init("shardline", stdin, on_output ? stdout : stderr, stderr);
  el_set(edit_, EL_CLIENTDATA, this);
  el_set(edit_, EL_PROMPT_ESC, &Prompt, kInvisible);
  el_set(edit_, EL_GETCFN, &Read);
  el_set(edit_, EL_HIST, history, history_);
  el_set(edit_, EL_EDITOR, "emacs");
  el_set(edit_, EL_SIGNAL, 1);  // Ctrl-Z, and windows that change their size
  el_source(edit_, nullptr);
}

Edited::~Edited() {
  el_end(edit_);
  history_end(history_);
  if (signals_ >= 0) close(signals_);
}

int Edited::ReadByte(char& byte) {
  for (;;) {
    pollfd waits[] = {{STDIN_FILENO, POLLIN, 0}, {signals_, POLLIN, 0}};
    if (poll(waits, 2, -1) < 0 && errno != EINTR) return -1;
    signalfd_siginfo signal;
    if (waits[1].revents != 0 && read(signals_, &signal, sizeof(signal)) == sizeof(signal)) {
      end_ = signal.ssi_signo == SIGTERM ? LineEnd::kTerminate : LineEnd::kInterrupt;
      return -1;
    }
    if (waits[0].revents == 0) continue;
    const ssize_t count = read(STDIN_FILENO, &byte, 1);
    if (count >= 0) return static_cast<int>(count);
    if (errno != EINTR && errno != EAGAIN) return -1;
  }
}

int Edited::ReadKey(wchar_t& character) {
  std::mbstate_t state{};
  for (;;) {
    char byte = 0;
    if (const int got = ReadByte(byte); got != 1) return got;
    const size_t length = std::mbrtowc(&character, &byte, 1, &state);
    if (length <= 1) return 1;
    if (length == static_cast<size_t>(-1)) {  // no UTF-8: leave the byte out
      state = {};
    }
  }
}

LineEnd Edited::Next(const std::string& prompt, std::string& line) {
  prompt_ = prompt;
  if (colours_) {  // what is invisible belongs to the character behind it, so the blank stays last
    prompt_.insert(prompt.size() - 1, Cat(kInvisible, "\033[0m", kInvisible));
    prompt_.insert(0, Cat(kInvisible, "\033[1;36m", kInvisible));
  }
  // Before the prompt shows: a key that answers it must not meet the terminal's own line editing.
  el_set(edit_, EL_PREP_TERM, 1);
  end_ = LineEnd::kEnd;
  int length = 0;
  const char* text = el_gets(edit_, &length);
  if (text == nullptr || length <= 0) return end_;
  line.assign(text, static_cast<size_t>(length));
  if (!line.empty() && line.back() == '\n') line.pop_back();
  if (line.size() > kMaxInputBytes) return LineEnd::kTooLong;
  if (line.find_first_not_of(' ') != std::string::npos) {
    HistEvent event;
    history(history_, &event, H_ENTER, line.c_str());
  }
  return LineEnd::kLine;
}

}  // namespace

std::unique_ptr<LineSource> EditedLines(bool on_output, bool colours) {
  return std::make_unique<Edited>(on_output, colours);
}

}  // namespace shardline::cli
