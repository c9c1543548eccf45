#include "core/interrupt.h"

#include <csignal>

#include <sys/wait.h>
#include <unistd.h>

#include "tests/catch.h"
#include "tests/core/scratch.h"

using namespace lancet;

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
  for (const int signal : {SIGINT, SIGTERM}) {
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
