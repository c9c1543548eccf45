#include "cli/launch.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstring>
#include <fstream>
#include <iterator>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "core/error.h"
#include "core/interrupt.h"
#include "core/parallel.h"

namespace lancet {
namespace {

using Clock = std::chrono::steady_clock;
constexpr std::chrono::seconds kToStop{30};  ///< for the others, after one has failed or a signal
constexpr std::chrono::seconds kToEnd{5};    ///< after SIGTERM
constexpr std::chrono::milliseconds kPoll{50};

[[noreturn]] void fail_system(const char* what) {
  fail(ErrorKind::kResource, "train",
       std::string("expected to ") + what + ", found " + std::strerror(errno));
}

/// This process's command line without --nproc and its value.
std::vector<std::string> command_line() {
  std::ifstream file("/proc/self/cmdline", std::ios::binary);
  const std::string text{std::istreambuf_iterator<char>(file), {}};
  std::vector<std::string> out;
  bool skip = false;
  for (std::size_t at = 0; at < text.size();) {
    const std::string word = text.substr(at, text.find('\0', at) - at);
    at += word.size() + 1;
    if (std::exchange(skip, false)) continue;
    if (word == "--nproc") {
      skip = true;
    } else if (!word.starts_with("--nproc=")) {
      out.push_back(word);
    }
  }
  return out;
}

/// Where rank 0 will listen: bound here, so that no other program takes it meanwhile.
struct Listener {
  int socket = -1;
  int port = 0;
};

Listener listen_locally() {
  Listener out;
  out.socket = ::socket(AF_INET, SOCK_STREAM, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof(address);
  if (out.socket < 0 ||
      ::bind(out.socket, reinterpret_cast<sockaddr*>(&address), sizeof(address)) != 0 ||
      ::listen(out.socket, SOMAXCONN) != 0 ||
      ::getsockname(out.socket, reinterpret_cast<sockaddr*>(&address), &size) != 0) {
    fail_system("listen on 127.0.0.1");
  }
  out.port = ntohs(address.sin_port);
  return out;
}

std::vector<char*> pointers(std::vector<std::string>& words) {
  std::vector<char*> out;
  for (std::string& word : words) out.push_back(word.data());
  out.push_back(nullptr);
  return out;
}

/// The environment with what rank `rank` is told.
std::vector<std::string> environment(int rank, int count, const Listener& listener) {
  std::vector<std::string> out;
  for (char** each = environ; *each != nullptr; ++each) out.emplace_back(*each);
  const auto set = [&](const std::string& name, const std::string& value) {
    std::erase_if(out, [&](const std::string& each) { return each.starts_with(name + "="); });
    out.push_back(name + "=" + value);
  };
  set("RANK", std::to_string(rank));
  set("WORLD_SIZE", std::to_string(count));
  set("LOCAL_RANK", std::to_string(rank));
  set("MASTER_ADDR", "127.0.0.1");
  set("MASTER_PORT", std::to_string(listener.port));
  set("GLOO_SOCKET_IFNAME", "lo");
  if (rank == 0) set("LANCET_MASTER_FD", std::to_string(listener.socket));
  return out;
}

pid_t start(int rank, std::vector<std::string> words, std::vector<std::string> variables,
            const Listener& listener) {
  const std::vector<char*> arguments = pointers(words), names = pointers(variables);
  const pid_t parent = ::getpid();
  const pid_t child = ::fork();
  if (child < 0) fail_system("start a process");
  if (child > 0) return child;
  // Nothing but system calls between fork and exec.
  ::prctl(PR_SET_PDEATHSIG, SIGTERM);
  if (::getppid() != parent) ::_exit(static_cast<int>(ErrorKind::kInterrupted));
  if (rank > 0) {
    ::close(listener.socket);
    const int nowhere = ::open("/dev/null", O_WRONLY);
    ::dup2(nowhere, STDOUT_FILENO);
  }
  ::execve("/proc/self/exe", arguments.data(), names.data());
  ::_exit(static_cast<int>(ErrorKind::kResource));
}

class Children {
 public:
  explicit Children(std::vector<pid_t> running) : running_(std::move(running)) {}

  int wait() {
    Clock::time_point deadline = Clock::time_point::max();
    while (!running_.empty()) {
      collect();
      if (running_.empty()) break;
      if (deadline == Clock::time_point::max() && (result_ != 0 || interrupted()))
        deadline = Clock::now() + kToStop;
      if (Clock::now() > deadline) {
        for (const pid_t child : running_) ::kill(child, ended_ ? SIGKILL : SIGTERM);
        ended_ = true;
        deadline = Clock::now() + kToEnd;
      }
      std::this_thread::sleep_for(kPoll);
    }
    return result_;
  }

 private:
  void collect() {
    std::erase_if(running_, [&](pid_t child) {
      int status = 0;
      if (::waitpid(child, &status, WNOHANG) != child) return false;
      const int code =
          WIFEXITED(status) ? WEXITSTATUS(status) : static_cast<int>(ErrorKind::kResource);
      if (result_ == 0) result_ = code;
      return true;
    });
  }

  std::vector<pid_t> running_;
  int result_ = 0;
  bool ended_ = false;
};

}  // namespace

int launch_ranks(int count, int threads) {
  std::vector<std::string> words = command_line();
  if (threads == 0) {
    words.emplace_back("--threads");
    words.push_back(std::to_string(std::max(1, parallel::threads() / count)));
  }
  const Listener listener = listen_locally();
  std::vector<pid_t> children;
  for (int rank = 0; rank < count; ++rank)
    children.push_back(start(rank, words, environment(rank, count, listener), listener));
  ::close(listener.socket);
  return Children(std::move(children)).wait();
}

}  // namespace lancet
