#include "distill/verify/spawn.h"

#include <fcntl.h>
#include <grp.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstring>

#include "core/error.h"

namespace lancet {
namespace {

constexpr unsigned kNobody = 65534;

/// Between fork and exec only async-signal-safe calls: other threads may have held any lock.
[[noreturn]] void die(const char* what) {
  const char* reason = std::strerror(errno);
  (void)!::write(2, what, std::strlen(what));
  (void)!::write(2, ": ", 2);
  (void)!::write(2, reason, std::strlen(reason));
  ::_exit(127);
}

void give_rights_away() {
  if (::geteuid() != 0 && ::getuid() != 0) return;
  if (::setgroups(0, nullptr) != 0 || ::setresgid(kNobody, kNobody, kNobody) != 0 ||
      ::setresuid(kNobody, kNobody, kNobody) != 0)
    die("cannot give root's rights away");
}

/// Descriptors [0, count) become those of `from`, which may overlap them.
void place(int* from, int count) {
  for (int i = 0; i < count; ++i) {
    from[i] = ::fcntl(from[i], F_DUPFD, count);
    if (from[i] < 0) die("fcntl");
  }
  for (int i = 0; i < count; ++i) {
    if (::dup2(from[i], i) < 0) die("dup2");
  }
  if (::syscall(SYS_close_range, count, ~0U, 0) != 0) die("close_range");
}

[[noreturn]] void become(char** argv, int* descriptors, int count, int parent) {
  sigset_t none;
  sigemptyset(&none);
  sigprocmask(SIG_SETMASK, &none, nullptr);
  for (const int number : {SIGINT, SIGTERM, SIGPIPE, SIGXFSZ}) ::signal(number, SIG_DFL);
  ::setpgid(0, 0);  // a Ctrl-C at the terminal is ours to handle
  place(descriptors, count);
  give_rights_away();
  // After the change of user, which clears it.
  if (::prctl(PR_SET_PDEATHSIG, SIGKILL) != 0) die("prctl");
  if (::getppid() != parent) ::_exit(127);
  char* const environment[] = {nullptr};
  ::execve(argv[0], argv, environment);
  die(argv[0]);
}

}  // namespace

int spawn(const std::vector<std::string>& argv, const Streams& streams,
          const std::vector<Descriptor>& passed) {
  std::vector<char*> words;
  words.reserve(argv.size() + 1);
  for (const std::string& word : argv) words.push_back(const_cast<char*>(word.c_str()));
  words.push_back(nullptr);
  std::vector<int> descriptors{streams.input, streams.output, streams.error};
  for (const Descriptor& descriptor : passed) descriptors.push_back(descriptor.get());
  const int parent = ::getpid();
  const int child = ::fork();
  if (child == 0)
    become(words.data(), descriptors.data(), static_cast<int>(descriptors.size()), parent);
  if (child < 0)
    fail(ErrorKind::kResource, "sandbox", std::string("fork: ") + std::strerror(errno));
  return child;
}

}  // namespace lancet
