#include "cli/launch.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <sys/mman.h>
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
constexpr std::chrono::seconds kToStop{30};  ///< for the others, after one has failed
constexpr std::chrono::seconds kToSave{10};  ///< after a signal, for a checkpoint
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
  out.reserve(words.size() + 1);
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

struct Child {
  pid_t id = 0;
  int rank = 0;
  int said = -1;  ///< what it writes to stderr; rank 0 writes to ours
  int status = 0;
};

/// Rank 0 speaks for all. What the others say is kept, for where it cannot.
Child start(int rank, std::vector<std::string> words, std::vector<std::string> variables,
            const Listener& listener) {
  const std::vector<char*> arguments = pointers(words), names = pointers(variables);
  const pid_t parent = ::getpid();
  const int said = rank == 0 ? -1 : ::memfd_create("lancet", MFD_CLOEXEC);
  if (rank > 0 && said < 0) fail_system("keep what a process says");
  const pid_t child = ::fork();
  if (child < 0) fail_system("start a process");
  if (child > 0) return {.id = child, .rank = rank, .said = said};
  // Nothing but system calls between fork and exec.
  ::prctl(PR_SET_PDEATHSIG, SIGTERM);
  ::setpgid(0, 0);  // a signal reaches it once, from its parent: a second one would end it at once
  if (::getppid() != parent) ::_exit(static_cast<int>(ErrorKind::kInterrupted));
  if (rank > 0) {
    ::close(listener.socket);
    const int nowhere = ::open("/dev/null", O_WRONLY);
    ::dup2(nowhere, STDOUT_FILENO);
    ::dup2(said, STDERR_FILENO);
  }
  ::execve("/proc/self/exe", arguments.data(), names.data());
  ::_exit(static_cast<int>(ErrorKind::kResource));
}

class Children {
 public:
  explicit Children(std::vector<Child> running) : running_(std::move(running)) {}

  int wait() {
    while (!running_.empty()) {
      collect();
      if (running_.empty()) break;
      if (interrupted() && !ended_) {
        end(kToSave);
      } else if (deadline_ == Clock::time_point::max() && result_ != 0) {
        deadline_ = Clock::now() + kToStop;
      } else if (Clock::now() > deadline_) {
        end(kToEnd);
      }
      std::this_thread::sleep_for(kPoll);
    }
    if (result_ != 0 && interrupted()) return static_cast<int>(ErrorKind::kInterrupted);
    if (result_ != 0 && !first_has_said_it_) tell();
    return result_;
  }

 private:
  /// SIGTERM to all that run; the next time SIGKILL.
  void end(std::chrono::seconds patience) {
    for (const Child& child : running_) ::kill(child.id, ended_ ? SIGKILL : SIGTERM);
    ended_ = true;
    deadline_ = Clock::now() + patience;
  }

  void collect() {
    std::erase_if(running_, [&](Child& child) {
      if (::waitpid(child.id, &child.status, WNOHANG) != child.id) return false;
      const bool exited = WIFEXITED(child.status);
      const int code = exited ? WEXITSTATUS(child.status) : static_cast<int>(ErrorKind::kResource);
      if (result_ == 0) result_ = code;
      if (child.rank == 0) first_has_said_it_ = exited && code != 0;
      if (child.rank > 0 && code != 0) failed_.push_back(child);
      return true;
    });
  }

  /// Rank 0 was killed, or has failed in nothing: the first other one's words.
  void tell() const {
    for (const Child& child : failed_) {
      char buffer[4096];
      bool any = false;
      ssize_t size = 0;
      for (off_t at = 0; (size = ::pread(child.said, buffer, sizeof(buffer), at)) > 0; at += size) {
        any = true;
        if (::write(STDERR_FILENO, buffer, static_cast<std::size_t>(size)) != size) return;
      }
      if (any) return;
    }
  }

  std::vector<Child> running_, failed_;
  int result_ = 0;
  Clock::time_point deadline_ = Clock::time_point::max();
  bool ended_ = false, first_has_said_it_ = false;
};

}  // namespace

int launch_ranks(int count, int threads) {
  std::vector<std::string> words = command_line();
  if (threads == 0) {
    words.emplace_back("--threads");
    words.push_back(std::to_string(std::max(1, parallel::threads() / count)));
  }
  const Listener listener = listen_locally();
  std::vector<Child> children;
  children.reserve(static_cast<std::size_t>(count));
  for (int rank = 0; rank < count; ++rank)
    children.push_back(start(rank, words, environment(rank, count, listener), listener));
  ::close(listener.socket);
  return Children(std::move(children)).wait();
}

}  // namespace lancet
