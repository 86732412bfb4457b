// GetLoad: what waits and runs, and how full the cache is, as of the worker's last report.
#include "gateway/rpc/handlers.h"
#include "shared/wire/model.h"

namespace shardline {

absl::Status GetLoad(const Gateway& gateway, const v1::GetLoadRequest&,
                     v1::GetLoadResponse* response) {
  const Router::State state = gateway.router.state();
  response->set_queued_requests(state.queued);
  response->set_queued_tokens(state.queued_tokens);
  response->set_running_requests(state.running);
  *response->add_groups() = ToGroupLoad(state.report, state.worker_ready);
  return absl::OkStatus();
}

}  // namespace shardline
