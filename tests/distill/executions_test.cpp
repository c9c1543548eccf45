#include "distill/executions.h"

#include <map>
#include <thread>

#include "core/error.h"
#include "distill/verify/sandbox.h"
#include "tests/catch.h"
#include "tests/core/scratch.h"

using namespace lancet;

TEST_CASE("executions: results come to who asked, with what the program wrote") {
  if (test::error_of([] { Sandbox().check(); })) LANCET_SKIP("no sandbox stands on this machine");
  ExecutionPool pool;
  std::map<int, TeacherAnswer> results;
  const auto start = [&](int number, const char* language, const char* program) {
    pool.start(execution_request(language, program, 0),
               [&results, number](const TeacherAnswer& answer) { results[number] = answer; });
  };
  start(0, "python", "print('out'); assert 1 + 1 == 2");
  start(1, "python", "print('before'); assert False, 'why'");
  start(2, "sh", "exit 3");
  start(3, "python", "def");
  CHECK(pool.active() == 4);
  while (pool.active() > 0) {
    pool.drain();
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
  REQUIRE(results.size() == 4);
  CHECK(results[0].text == "ok");
  CHECK(results[1].text == "exit");
  CHECK(results[1].message.find("before") != std::string::npos);
  CHECK(results[1].message.find("AssertionError: why") != std::string::npos);
  CHECK(results[2].message.find("exit status 3") != std::string::npos);
  CHECK(results[3].finish == "compile");
  start(4, "cobol", "");
  CHECK(test::error_of([&] {
          while (pool.active() > 0) pool.drain();
        })->kind() == ErrorKind::kUsage);
}
