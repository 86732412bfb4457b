// GetLoad: what waits and runs, and how full the cache is, as of the workers' last reports.
#include "gateway/rpc/handlers.h"
#include "shared/wire/model.h"

namespace shardline {

absl::Status GetLoad(const Gateway& gateway, const v1::GetLoadRequest&,
                     v1::GetLoadResponse* response) {
  const Router::State state = gateway.router.state();
  response->set_queued_requests(state.queued);
  response->set_queued_tokens(state.queued_tokens);
  response->set_running_requests(state.running);
  for (size_t replica = 0; replica < state.groups.size(); ++replica) {
    const Router::State::Group& group = state.groups[replica];
    *response->add_groups() =
        ToGroupLoad(static_cast<uint32_t>(replica), group.report, group.serves);
  }
  return absl::OkStatus();
}

}  // namespace shardline
