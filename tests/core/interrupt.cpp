#include "core/interrupt.h"

#include <csignal>
#include <string>

#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/file.h"
#include "core/json.h"
#include "tests/catch.h"
#include "tests/core/scratch.h"

using namespace lancet;
using test::Scratch;

namespace {

/// Exit status of a child that runs `body` and ends with its result.
template <typename Body>
int status_of_child(Body&& body) {
  const pid_t child = ::fork();
  if (child == 0) ::_exit(body());
  int status = 0;
  ::waitpid(child, &status, 0);
  return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

}  // namespace

TEST_CASE("interrupt: the first signal is noted and check_interrupted throws from then on") {
  for (const int signal : {SIGINT, SIGTERM, SIGHUP}) {
    CHECK(status_of_child([signal] {
            install_interrupt_handlers();
            if (interrupted()) return 1;
            check_interrupted();
            ::raise(signal);
            if (!interrupted()) return 2;
            const auto error = test::error_of([] { check_interrupted(); });
            return error && error->kind() == ErrorKind::kInterrupted ? 0 : 3;
          }) == 0);
  }
}

TEST_CASE("interrupt: the second signal ends the process at once with 130") {
  CHECK(status_of_child([] {
          install_interrupt_handlers();
          ::raise(SIGINT);
          ::raise(SIGTERM);
          return 0;
        }) == 130);
}

TEST_CASE("interrupt: SIGHUP from shell and terminal is one, and leaves time to clean up") {
  CHECK(status_of_child([] {
          install_interrupt_handlers();
          ::raise(SIGHUP);
          ::raise(SIGHUP);
          if (!interrupted()) return 1;
          ::raise(SIGTERM);
          return 0;
        }) == 130);
  CHECK(status_of_child([] {
          install_interrupt_handlers();
          ::raise(SIGHUP);
          ::raise(SIGHUP);
          return interrupted() ? 0 : 1;
        }) == 0);
}

TEST_CASE("interrupt: SIGHUP that is ignored, as under nohup, stays so") {
  CHECK(status_of_child([] {
          std::signal(SIGHUP, SIG_IGN);
          install_interrupt_handlers();
          ::raise(SIGHUP);
          return interrupted() ? 1 : 0;
        }) == 0);
}

TEST_CASE("interrupt: a file that shrinks while it is mapped is told in words, with exit code 3") {
  const Scratch scratch;
  write_file(scratch / "data", std::string(1 << 16, 'x'));
  CHECK(status_of_child([&] {
          const int out = ::open((scratch / "out").c_str(), O_WRONLY | O_CREAT, 0666);
          const int err = ::open((scratch / "err").c_str(), O_WRONLY | O_CREAT, 0666);
          ::dup2(out, STDOUT_FILENO);
          ::dup2(err, STDERR_FILENO);
          install_shrunk_file_handler(true);
          const MappedFile file(scratch / "data");
          fs::resize_file(scratch / "data", 100);
          return static_cast<int>(file.bytes()[(1 << 16) - 1]);
        }) == 3);
  CHECK_THAT(read_file(scratch / "err"), Catch::Contains("found it shorter"));
  CHECK(parse_json(read_file(scratch / "out"), "out")["error"]["kind"] == "input");
}

TEST_CASE("interrupt: a signal ends the wait for a pipe that nobody writes into") {
  CHECK(status_of_child([] {
          install_interrupt_handlers();
          int ends[2];
          if (::pipe(ends) != 0) return 1;
          const pid_t reader = ::getpid();
          if (::fork() == 0) {
            ::usleep(100'000);
            ::kill(reader, SIGTERM);
            ::_exit(0);
          }
          const auto error = test::error_of(
              [&] { (void)read_file("/proc/self/fd/" + std::to_string(ends[0]), 1024); });
          return error && error->kind() == ErrorKind::kInterrupted ? 0 : 2;
        }) == 0);
}
