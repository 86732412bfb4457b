#include "shared/base/tcp_address.h"

#include <netdb.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <functional>
#include <memory>
#include <thread>

#include "shared/base/clock.h"

namespace shardline {
namespace {

using Addresses = std::unique_ptr<addrinfo, void (*)(addrinfo*)>;

absl::StatusOr<Addresses> Resolve(const std::string& host, int port, std::string_view flag) {
  addrinfo hints{};
  hints.ai_family = AF_UNSPEC;
  hints.ai_socktype = SOCK_STREAM;
  addrinfo* found = nullptr;
  const int error = getaddrinfo(host.c_str(), Cat(port).c_str(), &hints, &found);
  if (error != 0) {
    return InvalidArgument(flag, ": no address for '", host, "': ", gai_strerror(error));
  }
  return Addresses(found, freeaddrinfo);
}

int SocketFor(const addrinfo& address) {
  return socket(address.ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
}

int Listen(const addrinfo& address) {
  const int fd = SocketFor(address);
  if (fd < 0) return -1;
  const int on = 1;
  setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
  if (bind(fd, address.ai_addr, address.ai_addrlen) == 0 && listen(fd, SOMAXCONN) == 0) return fd;
  const int error = errno;
  close(fd);
  errno = error;
  return -1;
}

// A connected socket within `limit`, or -1 and errno.
int ConnectWithin(const addrinfo& address, std::chrono::milliseconds limit) {
  const int fd = SocketFor(address);
  if (fd < 0) return -1;
  int error = connect(fd, address.ai_addr, address.ai_addrlen) == 0 ? 0 : errno;
  if (error == EINPROGRESS) {
    pollfd wait{fd, POLLOUT, 0};
    socklen_t size = sizeof(error);
    if (poll(&wait, 1, static_cast<int>(limit.count())) != 1) {
      error = ETIMEDOUT;
    } else if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size) != 0) {
      error = errno;
    }
  }
  if (error == 0) return fd;
  close(fd);
  errno = error;
  return -1;
}

absl::StatusOr<std::string> OwnAddress(int fd) {
  sockaddr_storage own{};
  socklen_t size = sizeof(own);
  char text[NI_MAXHOST];
  if (getsockname(fd, reinterpret_cast<sockaddr*>(&own), &size) != 0) {
    return Unavailable("getsockname: ", strerror(errno));
  }
  const int error = getnameinfo(reinterpret_cast<sockaddr*>(&own), size, text, sizeof(text),
                                nullptr, 0, NI_NUMERICHOST);
  if (error != 0) return Unavailable("getnameinfo: ", gai_strerror(error));
  return std::string(text);
}

}  // namespace

absl::StatusOr<TcpAddress> ParseTcpAddress(std::string_view text, std::string_view flag) {
  const size_t colon = text.rfind(':');
  TcpAddress address;
  if (colon != std::string_view::npos) {
    std::string_view host = text.substr(0, colon);
    if (host.size() > 2 && host.front() == '[' && host.back() == ']') {
      host = host.substr(1, host.size() - 2);
    }
    address.host = host;
    const char* end = text.data() + text.size();
    const auto read = std::from_chars(text.data() + colon + 1, end, address.port);
    if (read.ec != std::errc() || read.ptr != end) address.port = 0;
  }
  if (address.host.empty() || address.port < 1 || address.port > 65535) {
    return InvalidArgument(flag, " ", text, ": must be HOST:PORT, the port from 1 to 65535");
  }
  return address;
}

absl::StatusOr<int> ListenAt(const std::string& host, int port, std::string_view flag) {
  SL_ASSIGN_OR_RETURN(const Addresses found, Resolve(host, port, flag));
  for (const addrinfo* at = found.get(); at != nullptr; at = at->ai_next) {
    if (const int fd = Listen(*at); fd >= 0) return fd;
  }
  return Unavailable(flag, ": cannot listen at ", host, ":", port, ": ", strerror(errno));
}

absl::StatusOr<std::string> AddressTowards(const std::string& host, int port,
                                           std::chrono::steady_clock::time_point deadline,
                                           std::string_view flag) {
  using std::chrono::milliseconds;
  SL_ASSIGN_OR_RETURN(const Addresses found, Resolve(host, port, flag));
  for (;;) {
    for (const addrinfo* at = found.get(); at != nullptr; at = at->ai_next) {
      const auto left = std::chrono::duration_cast<milliseconds>(deadline - Clock::now());
      const int fd = ConnectWithin(*at, std::clamp(left, milliseconds(1), milliseconds(5000)));
      if (fd < 0) continue;
      auto own = OwnAddress(fd);
      close(fd);
      return own;
    }
    const int error = errno;
    if (Clock::now() >= deadline) {
      return DeadlineExceeded(flag, ": rank 0 does not answer at ", host, ":", port, ": ",
                              strerror(error));
    }
    std::this_thread::sleep_for(milliseconds(20));
  }
}

}  // namespace shardline
