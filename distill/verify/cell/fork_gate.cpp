#include "distill/verify/cell/fork_gate.h"

#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstddef>
#include <cstring>

namespace lancet {
namespace {

// The kernel may know longer records than these headers: it writes no more than it knows.
constexpr unsigned long kRecordBytes = 256;

/// The gate as a program of the kernel's: the calls that make tasks wait, all others pass. The
/// sandbox's own filter has dealt with other architectures and with clone3 before.
int install_gate() {
  sock_filter program[] = {
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, __NR_clone, 2, 0),
#ifdef __NR_fork
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, __NR_fork, 1, 0),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, __NR_vfork, 0, 1),
#else
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
#endif
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_USER_NOTIF),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
  };
  const sock_fprog whole{.len = sizeof program / sizeof program[0], .filter = program};
  return static_cast<int>(
      syscall(__NR_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_NEW_LISTENER, &whole));
}

/// Room for one descriptor in a message, aligned as the kernel wants it.
union Control {
  cmsghdr header;
  char bytes[CMSG_SPACE(sizeof(int))];
};

}  // namespace

GatePair make_gate_pair() {
  int ends[2] = {-1, -1};
  if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0) return {};
  return {ends[0], ends[1]};
}

void close_gate_behind(int socket) {
  const int gate = install_gate();
  char word = gate >= 0 ? 'g' : '-';
  iovec text{.iov_base = &word, .iov_len = 1};
  Control control{};
  msghdr message{};
  message.msg_iov = &text;
  message.msg_iovlen = 1;
  if (gate >= 0) {
    message.msg_control = &control;
    message.msg_controllen = sizeof control;
    cmsghdr* header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(sizeof gate);
    memcpy(CMSG_DATA(header), &gate, sizeof gate);
  }
  // A gate that nobody keeps would let no fork through: then the step had better not start.
  if (sendmsg(socket, &message, MSG_NOSIGNAL) != 1) _exit(126);
  if (gate >= 0) close(gate);
}

int receive_gate(int socket) {
  char word = 0;
  iovec text{.iov_base = &word, .iov_len = 1};
  Control control{};
  msghdr message{};
  message.msg_iov = &text;
  message.msg_iovlen = 1;
  message.msg_control = &control;
  message.msg_controllen = sizeof control;
  ssize_t got = 0;
  do {
    got = recvmsg(socket, &message, MSG_CMSG_CLOEXEC);
  } while (got < 0 && errno == EINTR);
  const cmsghdr* header = got == 1 ? CMSG_FIRSTHDR(&message) : nullptr;
  if (header == nullptr || header->cmsg_type != SCM_RIGHTS) return -1;
  int gate = -1;
  memcpy(&gate, CMSG_DATA(header), sizeof gate);
  return gate;
}

unsigned long long waiting_fork(int gate) {
  union {
    seccomp_notif record;
    char bytes[kRecordBytes];
  } call{};
  if (ioctl(gate, SECCOMP_IOCTL_NOTIF_RECV, &call) != 0) return 0;
  return call.record.id;
}

void allow_fork(int gate, unsigned long long id) {
  union {
    seccomp_notif_resp record;
    char bytes[kRecordBytes];
  } answer{};
  answer.record.id = id;
  answer.record.flags = SECCOMP_USER_NOTIF_FLAG_CONTINUE;
  (void)ioctl(gate, SECCOMP_IOCTL_NOTIF_SEND, &answer);  // it may have been killed meanwhile
}

}  // namespace lancet
