# Everything from outside. Debian 12's packages, and libtorch as tools/deps unpacked it.
# The gateway must never link libtorch, the worker never gRPC or protobuf: see DESIGN.md.
find_package(Threads REQUIRED)
find_package(absl REQUIRED CONFIG)
find_package(Boost 1.74 REQUIRED)
find_package(nlohmann_json 3.11 REQUIRED)
find_package(Protobuf 3.21 REQUIRED)
find_package(gRPC 1.51 REQUIRED CONFIG)
find_package(prometheus-cpp REQUIRED CONFIG)
find_package(ICU 72 REQUIRED COMPONENTS uc i18n)
find_package(PkgConfig REQUIRED)
pkg_check_modules(PCRE2 REQUIRED IMPORTED_TARGET libpcre2-8)
pkg_check_modules(EDIT REQUIRED IMPORTED_TARGET libedit)
if(SHARDLINE_TESTS)
  find_package(GTest REQUIRED)
endif()
if(SHARDLINE_BENCHMARKS)
  find_package(benchmark REQUIRED)
endif()

# libtorch: only libtorch_cpu and libc10, so nothing of CUDA but two small stubs is loaded.
set(TORCH_ROOT "${SHARDLINE_DEPS}/torch")
if(NOT EXISTS "${TORCH_ROOT}/lib/libtorch_cpu.so")
  message(FATAL_ERROR "libtorch is not in ${TORCH_ROOT}: run tools/deps (or tools/dev, which does)")
endif()
add_library(shardline_torch INTERFACE)
target_include_directories(shardline_torch SYSTEM INTERFACE
  "${TORCH_ROOT}/include" "${TORCH_ROOT}/include/torch/csrc/api/include")
target_link_libraries(shardline_torch INTERFACE "${TORCH_ROOT}/lib/libtorch_cpu.so" "${TORCH_ROOT}/lib/libc10.so")
# DT_RPATH, not RUNPATH: it also finds the libraries that libtorch_cpu.so itself needs.
target_link_options(shardline_torch INTERFACE "LINKER:--disable-new-dtags"
  "LINKER:-rpath,${TORCH_ROOT}/lib" "LINKER:-rpath-link,${TORCH_ROOT}/lib")
