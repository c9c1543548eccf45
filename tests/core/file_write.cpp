#include <csignal>

#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/file.h"
#include "core/stream_file.h"
#include "core/temporary.h"
#include "tests/catch.h"
#include "tests/core/scratch.h"

using namespace lancet;
using test::error_of;
using test::Scratch;

TEST_CASE("AtomicFile: without commit nothing stands under the final name") {
  const Scratch scratch;
  {
    AtomicFile file(scratch / "a");
    file.write(std::string(3 << 20, 'x'));
    CHECK(file.written() == 3 << 20);
    CHECK_FALSE(fs::exists(scratch / "a"));
    CHECK(scratch.entries() == 1);
  }
  CHECK(scratch.entries() == 0);
}

TEST_CASE("AtomicFile: after commit the file is whole and stands alone") {
  const Scratch scratch;
  std::string expected;
  AtomicFile file(scratch / "a");
  for (const std::size_t size : {1U, 100U, 1U << 20, (1U << 20) - 1, 3U << 20, 5U}) {
    const std::string piece(size, static_cast<char>('a' + size % 26));
    file.write(piece);
    expected += piece;
  }
  file.commit();
  CHECK(read_file(scratch / "a") == expected);
  CHECK(scratch.entries() == 1);
  CHECK(error_of([&] { file.write("x"); })->kind() == ErrorKind::kInternal);
  CHECK(error_of([&] { file.commit(); })->kind() == ErrorKind::kInternal);
}

TEST_CASE("AtomicFile: the old file stays until commit and a failed run leaves it") {
  const Scratch scratch;
  write_file(scratch / "a", "old");
  {
    AtomicFile file(scratch / "a");
    file.write("new");
    CHECK(read_file(scratch / "a") == "old");
  }
  CHECK(read_file(scratch / "a") == "old");
  write_file(scratch / "a", "new");
  CHECK(read_file(scratch / "a") == "new");
}

TEST_CASE("AtomicFile: reserving more or less than is written changes nothing") {
  const Scratch scratch;
  for (const std::uint64_t reserved : {0U, 1U, 100'000U}) {
    AtomicFile file(scratch / "a");
    file.reserve(reserved);
    file.write("12345");
    file.commit();
    CHECK(read_file(scratch / "a") == "12345");
  }
}

TEST_CASE("AtomicFile: reserving more than the disk holds is a resource error") {
  const Scratch scratch;
  AtomicFile file(scratch / "a");
  const auto error = error_of([&] { file.reserve(1ULL << 60); });
  REQUIRE(error);
  CHECK(error->kind() == ErrorKind::kResource);
}

TEST_CASE("AtomicFile: a write that fails is a resource error and leaves nothing behind") {
  const Scratch scratch;
  const pid_t child = ::fork();
  if (child == 0) {
    ::signal(SIGXFSZ, SIG_IGN);
    const rlimit limit{2 << 20, 2 << 20};
    ::setrlimit(RLIMIT_FSIZE, &limit);
    const auto error = error_of([&] {
      AtomicFile file(scratch / "a");
      for (int i = 0; i < 50; ++i) file.write(std::string(100'000, 'x'));
      file.commit();
    });
    const bool good = error && error->kind() == ErrorKind::kResource && !error->hint().empty() &&
                      error->message().find((scratch / "a").string()) != std::string::npos;
    ::_exit(good && scratch.entries() == 0 ? 0 : 1);
  }
  int status = -1;
  ::waitpid(child, &status, 0);
  CHECK(status == 0);
}

TEST_CASE("AtomicFile: directories and devices are never replaced by a file") {
  const Scratch scratch;
  fs::create_directory(scratch / "dir");
  fs::create_directory_symlink("dir", scratch / "link");
  for (const fs::path& path : {scratch / "dir", scratch / "link", fs::path("/")}) {
    const auto error = error_of([&] { write_file(path, "x"); });
    REQUIRE(error);
    CHECK(error->kind() == ErrorKind::kUsage);
  }
  CHECK(fs::is_symlink(scratch / "link"));
  CHECK(error_of([] { write_file("/dev/null", "x"); })->kind() == ErrorKind::kResource);
  CHECK(error_of([] { write_file("", "x"); })->kind() == ErrorKind::kUsage);
  CHECK(fs::is_character_file("/dev/null"));
}

TEST_CASE("AtomicFile: makes missing directories and takes names of 255 bytes") {
  const Scratch scratch;
  write_file(scratch / "new" / "deep" / "a", "x");
  CHECK(read_file(scratch / "new" / "deep" / "a") == "x");
  const std::string longest(255, 'n');
  write_file(scratch / longest, "y");
  CHECK(read_file(scratch / longest) == "y");
  write_file(scratch / "plain", "");
  CHECK(error_of([&] { write_file(scratch / "plain" / "a", "x"); })->kind() ==
        ErrorKind::kResource);
}

TEST_CASE("AtomicFile: two writers of one name do not disturb each other and the last one wins") {
  const Scratch scratch;
  AtomicFile first(scratch / "a");
  first.write("first");
  AtomicFile second(scratch / "a");
  second.write("second");
  second.commit();
  first.commit();
  CHECK(read_file(scratch / "a") == "first");
  CHECK(scratch.entries() == 1);
}

TEST_CASE("AtomicFile: removes what a killed run left and keeps what looks similar") {
  const Scratch scratch;
  const pid_t child = ::fork();
  if (child == 0) {
    AtomicFile file(scratch / "a");
    file.write(std::string(2 << 20, 'x'));
    ::kill(::getpid(), SIGKILL);
  }
  ::waitpid(child, nullptr, 0);
  CHECK(scratch.entries() == 1);
  write_file(scratch / ".a.lancet-keep", "x");
  write_file(scratch / ".ab.lancet-1-1.tmp", "x");
  write_file(scratch / "a", "new");
  CHECK(read_file(scratch / "a") == "new");
  CHECK(scratch.entries() == 3);
}

TEST_CASE("AtomicDirectory: appears whole at commit and not before") {
  const Scratch scratch;
  AtomicDirectory dir(scratch / "out");
  write_file(dir.path() / "config.json", "{}");
  fs::create_directory(dir.path() / "sub");
  write_file(dir.path() / "sub" / "x", "y");
  CHECK(dir.path().parent_path() == scratch.path());
  CHECK_FALSE(fs::exists(scratch / "out"));
  dir.commit();
  CHECK(read_file(scratch / "out" / "sub" / "x") == "y");
  CHECK(scratch.entries() == 1);
}

TEST_CASE("AtomicDirectory: without commit nothing is left") {
  const Scratch scratch;
  {
    const AtomicDirectory dir(scratch / "out/");
    write_file(dir.path() / "a", "x");
  }
  CHECK(scratch.entries() == 0);
}

TEST_CASE("AtomicDirectory: an existing name is refused without replace and swapped with it") {
  const Scratch scratch;
  fs::create_directory(scratch / "out");  // empty: a plain rename would replace it
  {
    AtomicDirectory dir(scratch / "out");
    CHECK(error_of([&] { dir.commit(); })->kind() == ErrorKind::kUsage);
  }
  CHECK(scratch.entries() == 1);
  write_file(scratch / "out" / "old", "x");
  AtomicDirectory dir(scratch / "out");
  write_file(dir.path() / "new", "y");
  dir.commit(true);
  CHECK(fs::exists(scratch / "out" / "new"));
  CHECK_FALSE(fs::exists(scratch / "out" / "old"));
  CHECK(scratch.entries() == 1);
}

TEST_CASE("outputs: a parent that is a link to a directory is as good as the directory") {
  const Scratch scratch;
  fs::create_directory(scratch / "disk");
  fs::create_directory_symlink(scratch / "disk", scratch / "link");
  write_file(scratch / "link" / "file", "x");
  AtomicDirectory dir(scratch / "link" / "out");
  write_file(dir.path() / "new", "y");
  dir.commit();
  StreamFile stream(scratch / "link" / "stream");
  stream.commit();
  CHECK(read_file(scratch / "disk" / "file") == "x");
  CHECK(read_file(scratch / "disk" / "out" / "new") == "y");
  CHECK(fs::exists(scratch / "disk" / "stream"));
}

TEST_CASE("outputs: a name that files beside it could not add to is refused before the work") {
  const Scratch scratch;
  CHECK_NOTHROW(check_output("write", scratch / std::string(230, 'a'), false));
  const auto error =
      error_of([&] { check_output("write", scratch / std::string(231, 'a'), false); });
  REQUIRE(error);
  CHECK(error->kind() == ErrorKind::kUsage);
}

TEST_CASE("DirectoryLock: a directory is one's own as long as it lives") {
  const Scratch scratch;
  {
    const temporary::DirectoryLock own(scratch.path(), "train");
    const auto error = error_of([&] { temporary::DirectoryLock other(scratch.path(), "train"); });
    REQUIRE(error);
    CHECK(error->kind() == ErrorKind::kResource);
  }
  CHECK_NOTHROW(temporary::DirectoryLock(scratch.path(), "train"));
}

TEST_CASE("AtomicDirectory: a link to a directory stays a link") {
  const Scratch scratch;
  fs::create_directory(scratch / "disk");
  fs::create_directory(scratch / "disk" / "real");
  fs::create_directory_symlink(scratch / "disk" / "real", scratch / "out");
  AtomicDirectory dir(scratch / "out");
  write_file(dir.path() / "new", "y");
  dir.commit(true);
  CHECK(fs::is_symlink(scratch / "out"));
  CHECK(read_file(scratch / "disk" / "real" / "new") == "y");
}

TEST_CASE("AtomicDirectory: removes what a killed run left and not what a living one writes") {
  const Scratch scratch;
  const pid_t child = ::fork();
  if (child == 0) {
    const AtomicDirectory dir(scratch / "out");
    write_file(dir.path() / "half", "x");
    ::kill(::getpid(), SIGKILL);
  }
  ::waitpid(child, nullptr, 0);
  CHECK(scratch.entries() == 1);
  fs::create_directory(scratch / ".out.lancet-999999999.tmp");
  AtomicDirectory living(scratch / "out");
  CHECK(scratch.entries() == 1);
  {
    const AtomicDirectory other(scratch / "out");
    CHECK(scratch.entries() == 2);
    CHECK(other.path() != living.path());
  }
  living.commit();
  CHECK(fs::is_directory(scratch / "out"));
}

TEST_CASE("AtomicDirectory: the current and the home directory are never replaced") {
  const Scratch scratch;
  fs::create_directories(scratch / "home" / "user");
  const test::Environment home("HOME", (scratch / "home" / "user").string());
  for (const fs::path& path : {scratch / "home", scratch / "home" / "user", fs::path(".")}) {
    INFO(path);
    CHECK(error_of([&] { check_output("edit", path, true); })->kind() == ErrorKind::kUsage);
  }
  AtomicDirectory dir(scratch / "home" / "user");
  CHECK(error_of([&] { dir.commit(true); })->kind() == ErrorKind::kUsage);
  CHECK_NOTHROW(check_output("edit", scratch / "home" / "user" / "out", false));
}

TEST_CASE("check_output: what exists needs force and a parent that is no directory is refused") {
  const Scratch scratch;
  write_file(scratch / "a", "x");
  CHECK_NOTHROW(check_output("merge", scratch / "b", false));
  CHECK_NOTHROW(check_output("merge", scratch / "new" / "deep" / "b", false));
  CHECK_NOTHROW(check_output("merge", scratch / "a", true));
  const auto error = error_of([&] { check_output("merge", scratch / "a", false); });
  REQUIRE(error);
  CHECK(error->kind() == ErrorKind::kUsage);
  CHECK(error->operation() == "merge");
  CHECK(error->hint().find("--force") != std::string::npos);
  CHECK(error_of([&] { check_output("merge", scratch / "a" / "b", false); })->kind() ==
        ErrorKind::kResource);
  CHECK(error_of([&] { check_output("merge", "", false); })->kind() == ErrorKind::kUsage);
  fs::create_symlink(scratch / "nowhere", scratch / "dangling");
  CHECK(error_of([&] { check_output("merge", scratch / "dangling", false); })->kind() ==
        ErrorKind::kUsage);
  CHECK(scratch.entries() == 2);
}
