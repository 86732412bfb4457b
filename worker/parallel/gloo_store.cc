#include "worker/parallel/gloo_store.h"

#include <algorithm>
#include <torch/csrc/distributed/c10d/TCPStore.hpp>
#include <vector>

#include "worker/parallel/gloo_guard.h"

C10_DECLARE_int(caffe2_log_level);

namespace shardline {
namespace {

class Store final : public GlooStore {
 public:
  Store(c10::intrusive_ptr<c10d::TCPStore> store, std::string where)
      : store_(std::move(store)), where_(std::move(where)) {}

  absl::Status Set(const std::string& key, const std::string& value) override {
    return Guarded(where_,
                   [&] { store_->set(key, std::vector<uint8_t>(value.begin(), value.end())); });
  }
  absl::StatusOr<std::optional<std::string>> Get(const std::string& key) override {
    std::optional<std::string> value;
    SL_RETURN_IF_ERROR(Guarded(where_, [&] {
      if (!store_->check({key})) return;
      const std::vector<uint8_t> bytes = store_->get(key);
      value.emplace(bytes.begin(), bytes.end());
    }));
    return value;
  }
  c10d::Store& raw() override { return *store_; }

 private:
  const c10::intrusive_ptr<c10d::TCPStore> store_;
  const std::string where_;
};

}  // namespace

absl::StatusOr<std::shared_ptr<GlooStore>> GlooStore::Open(const std::string& host, int port,
                                                           int listen_fd,
                                                           std::chrono::milliseconds timeout) {
  FLAGS_caffe2_log_level = 3;  // fatal errors alone: errors come back as a status
  c10d::TCPStoreOptions options;
  options.port = static_cast<uint16_t>(port);
  options.waitWorkers = false;
  options.timeout = std::max(timeout, std::chrono::milliseconds(1000));  // it counts whole seconds
  if (listen_fd >= 0) {
    options.isServer = true;
    options.masterListenFd = listen_fd;
  }
  const std::string where = Cat("--rendezvous ", host, ":", port);
  std::shared_ptr<GlooStore> store;
  SL_RETURN_IF_ERROR(Guarded(where, [&] {
    store = std::make_shared<Store>(c10::make_intrusive<c10d::TCPStore>(host, options), where);
  }));
  return store;
}

}  // namespace shardline
