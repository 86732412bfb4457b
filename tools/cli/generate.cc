// shardline generate: one request, its answer streamed to standard output, a closing line on
// standard error. Ctrl-C ends the request, not only this program. --attach reads the stream of a
// request that was sent before.
#include <ostream>

#include "shardline/v1/inference.grpc.pb.h"
#include "tools/cli/answer.h"
#include "tools/cli/client.h"
#include "tools/cli/commands.h"
#include "tools/cli/generate_request.h"
#include "tools/cli/interrupt.h"
#include "tools/cli/terminal.h"

namespace shardline::cli {
namespace {

int Fail(Streams& streams, const std::string& text, int code) {
  return cli::Fail(streams, "generate", text, code);
}

// How to see the rest of a request that lives on without its reader; empty when it does not.
std::string HowToAttach(const GenerateFlags& flags, const Answer& answer) {
  if (flags.attach.empty() && flags.request.detach_seconds() <= 0) return "";
  const std::string& id = answer.request_id().empty() ? flags.attach : answer.request_id();
  if (id.empty()) return "";
  return Cat("; the request may go on: --attach ", id, " --from-seq ", answer.last_seq() + 1);
}

struct Call {
  v1::GenerateRequest generate;
  v1::AttachRequest attach;
};

absl::Status MakeCall(const GenerateFlags& flags, const Arguments& words, Streams& streams,
                      Call& call) {
  if (!flags.attach.empty()) {
    SL_ASSIGN_OR_RETURN(call.attach, MakeAttachRequest(flags, words));
    return absl::OkStatus();
  }
  if (words.empty() && IsTerminal(streams.in)) {
    streams.err << "reading the prompt from standard input (Ctrl-D ends it)\n";
  }
  SL_ASSIGN_OR_RETURN(call.generate, MakeGenerateRequest(flags, words, streams.in));
  return absl::OkStatus();
}

}  // namespace

int Generate(const Arguments& arguments, Streams& streams) {
  GenerateFlags flags;
  const Options options = GenerateOptions(flags);
  std::optional<int> end;
  const Arguments words = options.Parse(arguments, streams, end);
  if (end) return *end;
  Call call;
  if (const absl::Status made = MakeCall(flags, words, streams, call); !made.ok()) {
    return Fail(streams, Message(made), kBadInput);
  }

  grpc::ClientContext context;
  SetDeadline(context, flags.deadline_seconds);
  Interrupt interrupt([&context] { context.TryCancel(); });
  Answer answer({.json = flags.json,
                 .several = flags.request.n() > 1,
                 .table = flags.request.has_logprobs(),
                 .terminal = IsTerminal(streams.out)},
                streams.out, Answer::Clock::now());
  const auto stub = v1::Inference::NewStub(Connect(flags.target));
  const auto stream = flags.attach.empty() ? stub->Generate(&context, call.generate)
                                           : stub->Attach(&context, call.attach);
  v1::GenerateEvent event;
  while (stream->Read(&event)) {
    answer.Take(event, Answer::Clock::now());
    if (!streams.out.good()) context.TryCancel();  // nobody reads on
  }
  const grpc::Status status = stream->Finish();
  answer.Close();
  if (interrupt.happened()) {
    return Fail(
        streams,
        Cat("interrupted; ", answer.Summary(), answer.complete() ? "" : HowToAttach(flags, answer)),
        kInterrupted);
  }
  if (!streams.out.good()) return Fail(streams, "standard output cannot be written", kFailed);
  if (!status.ok()) return Report("generate", flags.target, status, streams);
  if (!answer.error().empty()) return Fail(streams, answer.error(), kFailed);
  if (!answer.complete()) return Fail(streams, "the server ended the stream too early", kFailed);
  streams.err << answer.Summary() << "\n";
  return kDone;
}

}  // namespace shardline::cli
