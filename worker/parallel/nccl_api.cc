#include "worker/parallel/nccl_api.h"

#include <dlfcn.h>

namespace shardline {
namespace {

template <typename Function>
bool Find(void* library, const char* name, Function*& function) {
  function = reinterpret_cast<Function*>(dlsym(library, name));
  return function != nullptr;
}

// The first name that the library lacks, or nullptr.
const char* FirstMissing(void* library, NcclApi& api) {
  const char* missing = nullptr;
  const auto find = [&](const char* name, auto& function) {
    if (!Find(library, name, function) && missing == nullptr) missing = name;
  };
  find("ncclGetVersion", api.GetVersion);
  find("ncclGetErrorString", api.GetErrorString);
  find("ncclGetUniqueId", api.GetUniqueId);
  find("ncclCommInitRankConfig", api.CommInitRankConfig);
  find("ncclCommGetAsyncError", api.CommGetAsyncError);
  find("ncclCommFinalize", api.CommFinalize);
  find("ncclCommDestroy", api.CommDestroy);
  find("ncclCommAbort", api.CommAbort);
  find("ncclAllReduce", api.AllReduce);
  find("ncclAllGather", api.AllGather);
  find("ncclBroadcast", api.Broadcast);
  find("ncclSend", api.Send);
  find("ncclRecv", api.Recv);
  find("ncclGroupStart", api.GroupStart);
  find("ncclGroupEnd", api.GroupEnd);
  return missing;
}

}  // namespace

absl::StatusOr<NcclApi> LoadNccl(const std::string& library) {
  void* handle = dlopen(library.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (handle == nullptr) {
    return NotFound("NCCL: ", dlerror(), "; install it, or add its folder to LD_LIBRARY_PATH");
  }
  NcclApi api{};
  int version = 0;
  const char* missing = FirstMissing(handle, api);
  if (api.GetVersion == nullptr || api.GetVersion(&version) != kNcclSuccess) {
    return FailedPrecondition("NCCL: ", library, " does not tell its version");
  }
  if (version < kNcclLeastVersion) {
    return FailedPrecondition("NCCL: ", library, " is version ", version, "; ", kNcclLeastVersion,
                              " (2.18) is the least");
  }
  if (missing != nullptr) return FailedPrecondition("NCCL: ", library, " has no ", missing);
  return api;
}

}  // namespace shardline
