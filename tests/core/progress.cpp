#include "core/progress.h"

#include <cstdio>

#include <fcntl.h>
#include <unistd.h>

#include "core/log.h"
#include "core/parallel.h"
#include "tests/catch.h"
#include "tests/core/scratch.h"

using namespace lancet;

namespace {

/// What `body` writes to stderr.
template <typename Body>
std::string stderr_of(Body&& body) {
  const test::Scratch scratch;
  std::fflush(stderr);
  const int saved = ::dup(STDERR_FILENO);
  const int file = ::open((scratch / "stderr").c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
  ::dup2(file, STDERR_FILENO);
  body();
  std::fflush(stderr);
  ::dup2(saved, STDERR_FILENO);
  ::close(saved);
  ::close(file);
  return read_file(scratch / "stderr");
}

}  // namespace

TEST_CASE("log: each level shows what it promises and nothing else") {
  const auto all = [] {
    log::info("note");
    log::verbose("detail");
    log::warn("careful {}");
  };
  log::set_level(log::Level::kQuiet);
  CHECK(stderr_of(all).empty());
  log::set_level(log::Level::kVerbose);
  CHECK(log::level() == log::Level::kVerbose);
  CHECK(stderr_of(all).find("detail") != std::string::npos);
  log::set_level(log::Level::kNormal);
  const std::string normal = stderr_of(all);
  CHECK(normal.find("note\n") != std::string::npos);
  CHECK(normal.find("warning: careful {}\n") != std::string::npos);
  CHECK(normal.find("detail") == std::string::npos);
}

TEST_CASE("Progress: work that ends at once leaves no line") {
  CHECK(stderr_of([] {
          Progress progress("merge", 100, Progress::Unit::kBytes);
          progress.advance(100);
          progress.finish();
          progress.finish();
          progress.advance(1);
        }).empty());
}

TEST_CASE("Progress: may be advanced from many threads and be switched off") {
  Progress::enable(false);
  parallel::set_threads(4);
  Progress progress("items", 0, Progress::Unit::kItems);
  CHECK(stderr_of([&] {
          parallel::for_each(10'000, [&](std::size_t) { progress.advance(1); });
          progress.finish();
        }).empty());
  parallel::set_threads(0);
  Progress::enable(true);
}
