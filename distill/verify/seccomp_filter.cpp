#include "distill/verify/seccomp_filter.h"

#include <linux/seccomp.h>
#include <sched.h>
#include <seccomp.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstring>

#include "core/error.h"
#include "distill/verify/descriptor.h"

namespace lancet {
namespace {

// What interpreters, compilers and their output need of Linux. Left out on purpose: mounts, name
// spaces, ptrace and other processes' memory, keys, BPF, performance counters, io_uring,
// userfaultfd, System V IPC and memfd_create (memory that no process's size shows), clocks,
// modules. Names that this libseccomp does not know are passed over.
constexpr const char* kAllowed[] = {"access",
                                    "alarm",
                                    "arch_prctl",
                                    "brk",
                                    "capget",
                                    "chdir",
                                    "chmod",
                                    "clock_getres",
                                    "clock_gettime",
                                    "clock_nanosleep",
                                    "close",
                                    "close_range",
                                    "copy_file_range",
                                    "creat",
                                    "dup",
                                    "dup2",
                                    "dup3",
                                    "epoll_create",
                                    "epoll_create1",
                                    "epoll_ctl",
                                    "epoll_pwait",
                                    "epoll_wait",
                                    "eventfd",
                                    "eventfd2",
                                    "execve",
                                    "execveat",
                                    "exit",
                                    "exit_group",
                                    "faccessat",
                                    "faccessat2",
                                    "fadvise64",
                                    "fallocate",
                                    "fchdir",
                                    "fchmod",
                                    "fchmodat",
                                    "fcntl",
                                    "fdatasync",
                                    "flock",
                                    "fork",
                                    "fstat",
                                    "fstatfs",
                                    "fsync",
                                    "ftruncate",
                                    "futex",
                                    "futex_waitv",
                                    "getcpu",
                                    "getcwd",
                                    "getdents",
                                    "getdents64",
                                    "getegid",
                                    "geteuid",
                                    "getgid",
                                    "getgroups",
                                    "getitimer",
                                    "getpeername",
                                    "getpgid",
                                    "getpgrp",
                                    "getpid",
                                    "getppid",
                                    "getpriority",
                                    "getrandom",
                                    "getresgid",
                                    "getresuid",
                                    "getrlimit",
                                    "getrusage",
                                    "getsid",
                                    "getsockname",
                                    "getsockopt",
                                    "gettid",
                                    "gettimeofday",
                                    "getuid",
                                    "kill",
                                    "link",
                                    "linkat",
                                    "lseek",
                                    "lstat",
                                    "madvise",
                                    "membarrier",
                                    "mincore",
                                    "mkdir",
                                    "mkdirat",
                                    "mmap",
                                    "mprotect",
                                    "mremap",
                                    "msync",
                                    "munmap",
                                    "nanosleep",
                                    "newfstatat",
                                    "open",
                                    "openat",
                                    "openat2",
                                    "pause",
                                    "pipe",
                                    "pipe2",
                                    "poll",
                                    "ppoll",
                                    "prctl",
                                    "pread64",
                                    "preadv",
                                    "preadv2",
                                    "prlimit64",
                                    "pselect6",
                                    "pwrite64",
                                    "pwritev",
                                    "pwritev2",
                                    "read",
                                    "readahead",
                                    "readlink",
                                    "readlinkat",
                                    "readv",
                                    "recvfrom",
                                    "recvmsg",
                                    "rename",
                                    "renameat",
                                    "renameat2",
                                    "restart_syscall",
                                    "rmdir",
                                    "rseq",
                                    "rt_sigaction",
                                    "rt_sigpending",
                                    "rt_sigprocmask",
                                    "rt_sigqueueinfo",
                                    "rt_sigreturn",
                                    "rt_sigsuspend",
                                    "rt_sigtimedwait",
                                    "sched_get_priority_max",
                                    "sched_get_priority_min",
                                    "sched_getaffinity",
                                    "sched_getparam",
                                    "sched_getscheduler",
                                    "sched_setaffinity",
                                    "sched_yield",
                                    "select",
                                    "sendfile",
                                    "sendmsg",
                                    "sendto",
                                    "set_robust_list",
                                    "set_tid_address",
                                    "setitimer",
                                    "setpgid",
                                    "setpriority",
                                    "setrlimit",
                                    "setsid",
                                    "setsockopt",
                                    "shutdown",
                                    "sigaltstack",
                                    "signalfd4",
                                    "socketpair",
                                    "splice",
                                    "stat",
                                    "statfs",
                                    "statx",
                                    "symlink",
                                    "symlinkat",
                                    "sync",
                                    "sysinfo",
                                    "tee",
                                    "tgkill",
                                    "time",
                                    "timer_create",
                                    "timer_delete",
                                    "timer_getoverrun",
                                    "timer_gettime",
                                    "timer_settime",
                                    "timerfd_create",
                                    "timerfd_gettime",
                                    "timerfd_settime",
                                    "times",
                                    "tkill",
                                    "truncate",
                                    "umask",
                                    "uname",
                                    "unlink",
                                    "unlinkat",
                                    "utime",
                                    "utimensat",
                                    "utimes",
                                    "vfork",
                                    "wait4",
                                    "waitid",
                                    "write",
                                    "writev"};

// Of ioctl only what asks; nothing that types into a terminal (TIOCSTI, TIOCLINUX). The last two
// are the cell's at its gate (cell/fork_gate.h).
constexpr unsigned long kIoctls[] = {TCGETS,
                                     TIOCGWINSZ,
                                     TIOCGPGRP,
                                     FIONREAD,
                                     FIONBIO,
                                     FIOCLEX,
                                     FIONCLEX,
                                     SECCOMP_IOCTL_NOTIF_RECV,
                                     SECCOMP_IOCTL_NOTIF_SEND};

/// A condition on argument `index` of a call (the library's macros for it are no C++).
constexpr scmp_arg_cmp argument(unsigned index, scmp_compare compare, scmp_datum_t a,
                                scmp_datum_t b = 0) {
  return {index, compare, a, b};
}

class Filter {
 public:
  Filter() : context_(seccomp_init(SCMP_ACT_ERRNO(ENOSYS))) {
    if (context_ == nullptr) refuse("seccomp_init", ENOMEM);
  }
  ~Filter() { seccomp_release(context_); }
  Filter(const Filter&) = delete;
  Filter& operator=(const Filter&) = delete;

  template <typename... Conditions>
  void add(std::uint32_t action, const char* name, Conditions... conditions) {
    const int number = seccomp_syscall_resolve_name(name);
    if (number == __NR_SCMP_ERROR) return;
    const int rc = seccomp_rule_add(context_, action, number, sizeof...(conditions), conditions...);
    if (rc != 0 && rc != -EDOM) refuse(name, -rc);  // EDOM: not a call of this architecture
  }

  [[nodiscard]] std::string program() const {
    const Descriptor file = make_memory_file("seccomp", {});
    if (const int rc = seccomp_export_bpf(context_, file.get()); rc != 0)
      refuse("seccomp_export_bpf", -rc);
    return read_memory_file(file);
  }

 private:
  scmp_filter_ctx context_;

  [[noreturn]] static void refuse(const char* what, int error) {
    fail(ErrorKind::kResource, "sandbox",
         std::string("libseccomp refused ") + what + ": " + std::strerror(error));
  }
};

}  // namespace

std::string seccomp_program() {
  Filter filter;
  for (const char* name : kAllowed) filter.add(SCMP_ACT_ALLOW, name);
  for (const unsigned long request : kIoctls)
    filter.add(SCMP_ACT_ALLOW, "ioctl", argument(1, SCMP_CMP_EQ, request));
  // clone without new name spaces; clone3 hides its flags in memory and stays ENOSYS, upon which
  // the C libraries use clone.
  constexpr std::uint64_t kSpaces = CLONE_NEWNS | CLONE_NEWUSER | CLONE_NEWPID | CLONE_NEWNET |
                                    CLONE_NEWIPC | CLONE_NEWUTS | CLONE_NEWCGROUP;
  filter.add(SCMP_ACT_ALLOW, "clone", argument(0, SCMP_CMP_MASKED_EQ, kSpaces, 0));
  // The cell's gate. There can be one only: inside it this call fails.
  filter.add(SCMP_ACT_ALLOW, "seccomp", argument(0, SCMP_CMP_EQ, SECCOMP_SET_MODE_FILTER),
             argument(1, SCMP_CMP_EQ, SECCOMP_FILTER_FLAG_NEW_LISTENER));
  filter.add(SCMP_ACT_ALLOW, "socket", argument(0, SCMP_CMP_EQ, AF_UNIX));
  filter.add(SCMP_ACT_ERRNO(EACCES), "socket", argument(0, SCMP_CMP_NE, AF_UNIX));
  for (const char* name : {"bind", "listen", "accept", "accept4", "connect"})
    filter.add(SCMP_ACT_ALLOW, name);
  return filter.program();
}

}  // namespace lancet
