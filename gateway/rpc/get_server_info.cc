// GetServerInfo: version, build, and the accepted range of every parameter, from the capability
// table.
#include "gateway/capabilities.h"
#include "gateway/rpc/handlers.h"

namespace shardline {

absl::Status GetServerInfo(const Gateway& gateway, const v1::GetServerInfoRequest&,
                           v1::GetServerInfoResponse* response) {
  response->set_version(SHARDLINE_VERSION);
  v1::Build& build = *response->mutable_build();
  build.set_commit(SHARDLINE_COMMIT);
  build.set_compiler("g++ " __VERSION__);
  build.set_build_type(SHARDLINE_BUILD_TYPE);
  build.set_grpc_version(gateway.grpc_version);
  build.set_instruction_set(gateway.router.state().ready.instruction_set);

  v1::Limits& limits = *response->mutable_limits();
  for (const Parameter& parameter : Capabilities()) {
    v1::ParameterLimit& limit = *limits.add_parameters();
    limit.set_field(std::string(parameter.field));
    if (parameter.min.has_value()) limit.set_min(*parameter.min);
    if (parameter.max.has_value()) limit.set_max(*parameter.max);
    limit.set_min_exclusive(parameter.min_exclusive);
    limit.set_served(parameter.served);
    std::string note(parameter.note);
    const auto add = [&note](const std::string& part) {
      note += Cat(note.empty() ? "" : "; ", part);
    };
    if (parameter.max_entries != 0) add(Cat("at most ", parameter.max_entries, " entries"));
    if (parameter.max_bytes != 0) {
      add(Cat(parameter.min_bytes, " to ", parameter.max_bytes, " bytes"));
    }
    limit.set_note(note);
  }
  limits.set_max_receive_bytes(kMaxReceiveBytes);
  limits.set_max_queued_requests(gateway.settings.max_queued_requests);
  limits.set_max_queued_tokens(gateway.settings.max_queued_tokens);
  limits.set_max_sequences(gateway.settings.max_sequences * gateway.settings.replicas);
  limits.set_max_batch_tokens(gateway.settings.max_batch_tokens);
  return absl::OkStatus();
}

}  // namespace shardline
