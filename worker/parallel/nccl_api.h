// The part of NCCL's C interface that a group uses (2.18 and later), declared here so that neither
// its headers nor CUDA's are needed to build, and as a table so that tests can stand in for it.
// Names, numbers and layouts are NCCL's.
#pragma once

#include <climits>
#include <cstddef>

#include "shared/base/status.h"

namespace shardline {

struct NcclUniqueId {
  char internal[128];
};
using NcclComm = struct NcclCommunicator*;
using NcclStream = void*;  // cudaStream_t

enum NcclResult : int {
  kNcclSuccess = 0,
  kNcclUnhandledCudaError = 1,
  kNcclSystemError = 2,
  kNcclInternalError = 3,
  kNcclInvalidArgument = 4,
  kNcclInvalidUsage = 5,
  kNcclRemoteError = 6,
  kNcclInProgress = 7,
};
enum NcclType : int { kNcclUint8 = 1, kNcclFloat16 = 6, kNcclFloat32 = 7, kNcclBfloat16 = 9 };
enum NcclOp : int { kNcclSum = 0 };

inline constexpr int kNcclUndefined = INT_MIN;
inline constexpr int kNcclLeastVersion = 21800;  // 2.18.0

// ncclConfig_t as of 2.18. Later ones are longer; `size` and `version` say what this one has.
struct NcclConfig {
  size_t size = sizeof(NcclConfig);
  unsigned magic = 0xcafebeef;
  unsigned version = kNcclLeastVersion;
  int blocking = kNcclUndefined;
  int cga_cluster_size = kNcclUndefined;
  int min_ctas = kNcclUndefined;
  int max_ctas = kNcclUndefined;
  const char* net_name = nullptr;
  int split_share = kNcclUndefined;
};

struct NcclApi {
  NcclResult (*GetVersion)(int* version);
  const char* (*GetErrorString)(NcclResult result);
  NcclResult (*GetUniqueId)(NcclUniqueId* id);
  NcclResult (*CommInitRankConfig)(NcclComm* comm, int ranks, NcclUniqueId id, int rank,
                                   NcclConfig* config);
  NcclResult (*CommGetAsyncError)(NcclComm comm, NcclResult* error);
  NcclResult (*CommFinalize)(NcclComm comm);
  NcclResult (*CommDestroy)(NcclComm comm);
  NcclResult (*CommAbort)(NcclComm comm);
  NcclResult (*AllReduce)(const void* in, void* out, size_t count, NcclType type, NcclOp op,
                          NcclComm comm, NcclStream stream);
  NcclResult (*AllGather)(const void* in, void* out, size_t count_in, NcclType type, NcclComm comm,
                          NcclStream stream);
  NcclResult (*Broadcast)(const void* in, void* out, size_t count, NcclType type, int root,
                          NcclComm comm, NcclStream stream);
  NcclResult (*Send)(const void* data, size_t count, NcclType type, int peer, NcclComm comm,
                     NcclStream stream);
  NcclResult (*Recv)(void* data, size_t count, NcclType type, int peer, NcclComm comm,
                     NcclStream stream);
  NcclResult (*GroupStart)();
  NcclResult (*GroupEnd)();
};

// Loads the library once and for good. Errors: NotFound (no such library, with the loader's words),
// FailedPrecondition (older than 2.18, or a function is missing).
absl::StatusOr<NcclApi> LoadNccl(const std::string& library = "libnccl.so.2");

}  // namespace shardline
