// A server on loopback that answers every POST at once with the same small completion: what
// bench_teacher.py measures against. One thread (epoll), so that one core is left to the client.
// Prints its port; ends when standard input closes.

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <string>
#include <string_view>
#include <unordered_map>

namespace {

const std::string& reply() {
  static const std::string text = [] {
    const std::string body =
        R"({"id":"x","object":"chat.completion","created":1,"model":"instant","choices":[{"index":0,)"
        R"("finish_reason":"stop","message":{"role":"assistant","content":"Yes, at once."}}],)"
        R"("usage":{"prompt_tokens":12,"completion_tokens":4,"total_tokens":16}})";
    return "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: " +
           std::to_string(body.size()) + "\r\n\r\n" + body;
  }();
  return text;
}

/// The value of Content-Length in a request's head; 0 without one.
std::size_t content_length(std::string_view head) {
  constexpr std::string_view kName = "\ncontent-length:";
  for (std::size_t at = head.find('\n'); at != head.npos; at = head.find('\n', at + 1)) {
    if (head.size() - at > kName.size() &&
        ::strncasecmp(head.data() + at, kName.data(), kName.size()) == 0)
      return std::strtoul(head.data() + at + kName.size(), nullptr, 10);
  }
  return 0;
}

/// Takes whole requests from the front of `data`; returns how many.
std::size_t take_requests(std::string& data) {
  std::size_t count = 0, at = 0;
  while (true) {
    const std::size_t end = data.find("\r\n\r\n", at);
    if (end == data.npos) break;
    const std::size_t whole = end + 4 + content_length(std::string_view(data).substr(at, end - at));
    if (data.size() < whole) break;
    at = whole;
    ++count;
  }
  data.erase(0, at);
  return count;
}

/// Reads what has come and answers it; false when the connection is over.
bool serve(int socket, std::string& data) {
  char buffer[1 << 16];
  const ssize_t got = ::read(socket, buffer, sizeof buffer);
  if (got <= 0) return false;
  data.append(buffer, static_cast<std::size_t>(got));
  for (std::size_t left = take_requests(data); left > 0; --left) {
    if (::write(socket, reply().data(), reply().size()) != static_cast<ssize_t>(reply().size()))
      return false;
  }
  return true;
}

void watch(int epoll, int fd) {
  epoll_event event{};
  event.events = EPOLLIN;
  event.data.fd = fd;
  if (::epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) != 0) std::exit(1);
}

int listen_on_loopback() {
  const int listener = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof address;
  if (::bind(listener, reinterpret_cast<sockaddr*>(&address), size) != 0 ||
      ::listen(listener, 512) != 0 ||
      ::getsockname(listener, reinterpret_cast<sockaddr*>(&address), &size) != 0)
    std::exit(1);
  std::printf("%d\n", ntohs(address.sin_port));
  std::fflush(stdout);
  return listener;
}

}  // namespace

int main() {
  const int listener = listen_on_loopback();
  const int epoll = ::epoll_create1(EPOLL_CLOEXEC);
  watch(epoll, listener);
  watch(epoll, STDIN_FILENO);
  std::unordered_map<int, std::string> connections;  // what has come of the next request
  epoll_event events[64];
  while (true) {
    const int count = ::epoll_wait(epoll, events, 64, -1);
    for (int i = 0; i < count; ++i) {
      const int fd = events[i].data.fd;
      if (fd == STDIN_FILENO) {
        char byte = 0;
        if (::read(STDIN_FILENO, &byte, 1) <= 0) return 0;
      } else if (fd == listener) {
        const int accepted = ::accept4(listener, nullptr, nullptr, SOCK_CLOEXEC);
        const int on = 1;
        ::setsockopt(accepted, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
        if (accepted >= 0) watch(epoll, accepted);
      } else if (!serve(fd, connections[fd])) {
        connections.erase(fd);
        ::close(fd);
      }
    }
  }
}
