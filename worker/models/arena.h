// The one piece of memory that a model's activations live in, sized when the model is loaded.
#pragma once

#include <cstddef>
#include <memory>
#include <new>

namespace shardline {

class Arena {
 public:
  Arena() = default;
  explicit Arena(size_t bytes)
      : data_(static_cast<std::byte*>(::operator new(bytes, std::align_val_t{64}))),
        bytes_(bytes) {}

  std::byte* data() const { return data_.get(); }
  size_t bytes() const { return bytes_; }

 private:
  struct Free {
    void operator()(std::byte* data) const { ::operator delete(data, std::align_val_t{64}); }
  };
  std::unique_ptr<std::byte, Free> data_;
  size_t bytes_ = 0;
};

}  // namespace shardline
