#include "core/file.h"

#include <chrono>
#include <utility>
#include <vector>

#include <sys/stat.h>
#include <unistd.h>

#include "core/hash.h"
#include "tests/catch.h"
#include "tests/core/scratch.h"

using namespace lancet;
using test::error_of;
using test::Scratch;

TEST_CASE("MappedFile: shows the bytes of the file and an empty file is empty") {
  const Scratch scratch;
  write_file(scratch / "a", "hello");
  write_file(scratch / "empty", "");
  const MappedFile file(scratch / "a");
  CHECK(file.size() == 5);
  CHECK(static_cast<char>(file.bytes()[4]) == 'o');
  const MappedFile empty(scratch / "empty");
  CHECK(empty.bytes().data() == nullptr);
  CHECK(empty.bytes().empty());
  empty.release(0, 10);
  empty.check_unchanged();
}

TEST_CASE("MappedFile: what is no regular file is an input error that names it") {
  const Scratch scratch;
  REQUIRE(::mkfifo((scratch / "pipe").c_str(), 0600) == 0);
  fs::create_symlink(scratch / "nowhere", scratch / "link");
  for (const fs::path& path : {scratch / "missing", scratch.path(), scratch / "pipe",
                               scratch / "link", fs::path("/dev/null"), fs::path()}) {
    INFO(path);
    const auto error = error_of([&] { const MappedFile file(path); });
    REQUIRE(error);
    CHECK(error->kind() == ErrorKind::kInput);
    CHECK(error->operation() == "open");
    CHECK(error->message().find(path.string()) != std::string::npos);
  }
}

TEST_CASE("MappedFile: an unreadable file is an input error") {
  if (::geteuid() == 0) LANCET_SKIP("root reads everything");
  const Scratch scratch;
  write_file(scratch / "a", "x");
  fs::permissions(scratch / "a", fs::perms::none);
  CHECK(error_of([&] { const MappedFile file(scratch / "a"); })->kind() == ErrorKind::kInput);
}

TEST_CASE("MappedFile: moving it moves the mapping") {
  const Scratch scratch;
  write_file(scratch / "a", "hello");
  write_file(scratch / "b", "other file");
  MappedFile first(scratch / "a");
  const std::byte* const data = first.bytes().data();
  MappedFile second(std::move(first));
  CHECK(second.bytes().data() == data);
  second = MappedFile(scratch / "b");
  CHECK(second.size() == 10);
  CHECK(second.path() == scratch / "b");
}

TEST_CASE("MappedFile: the bytes are the same after any release") {
  const Scratch scratch;
  std::string text(100'000, '\0');
  for (std::size_t i = 0; i < text.size(); ++i) text[i] = static_cast<char>(i % 251);
  write_file(scratch / "a", text);
  const MappedFile file(scratch / "a");
  constexpr std::uint64_t kMost = ~std::uint64_t{0};
  const std::vector<std::pair<std::uint64_t, std::uint64_t>> ranges{
      {0, 0}, {1, 5000}, {4096, 4096}, {0, kMost}, {99'999, kMost}, {100'000, 1}, {kMost, kMost}};
  for (const auto& [offset, length] : ranges) {
    file.release(offset, length);
    CHECK(sha256_hex(file.bytes()) == sha256_hex(text));
  }
}

TEST_CASE("MappedFile: a file that was cut or rewritten or removed is noticed") {
  const Scratch scratch;
  write_file(scratch / "a", std::string(5000, 'x'));
  const MappedFile file(scratch / "a");
  file.check_unchanged();
  fs::last_write_time(scratch / "a", fs::file_time_type::clock::now() - std::chrono::hours(1));
  CHECK(error_of([&] { file.check_unchanged(); })->kind() == ErrorKind::kInput);
  const MappedFile again(scratch / "a");
  fs::resize_file(scratch / "a", 10);
  CHECK(error_of([&] { again.check_unchanged(); })->message().find("5000 bytes, now 10") !=
        std::string::npos);
  fs::remove(scratch / "a");
  CHECK(error_of([&] { again.check_unchanged(); })->kind() == ErrorKind::kInput);
}

TEST_CASE("read_file: the limit is inclusive and directories and missing files are input errors") {
  const Scratch scratch;
  write_file(scratch / "a", std::string("a\0b", 3));
  CHECK(read_file(scratch / "a") == std::string("a\0b", 3));
  CHECK(read_file(scratch / "a", 3).size() == 3);
  CHECK(error_of([&] { (void)read_file(scratch / "a", 2); })->kind() == ErrorKind::kInput);
  CHECK(error_of([&] { (void)read_file(scratch.path()); })->kind() == ErrorKind::kInput);
  CHECK(error_of([&] { (void)read_file(scratch / "no"); })->kind() == ErrorKind::kInput);
  CHECK(read_file("/dev/null").empty());
  CHECK(read_file("/proc/self/status").size() > 100);
  CHECK(error_of([&] { (void)read_file("/dev/zero", 1000); })->kind() == ErrorKind::kInput);
}

TEST_CASE("user_cache_dir: LANCET_CACHE wins and then XDG and then the home directory") {
  const Scratch scratch;
  const test::Environment home("HOME", (scratch / "home").string());
  const test::Environment xdg("XDG_CACHE_HOME", (scratch / "xdg").string());
  {
    const test::Environment own("LANCET_CACHE", (scratch / "own").string());
    CHECK(user_cache_dir() == scratch / "own");
    CHECK(fs::is_directory(scratch / "own"));
  }
  const test::Environment own("LANCET_CACHE", "");
  CHECK(user_cache_dir() == scratch / "xdg" / "lancet");
  const test::Environment relative("XDG_CACHE_HOME", "not/absolute");
  CHECK(user_cache_dir() == scratch / "home" / ".cache" / "lancet");
}

TEST_CASE("user_cache_dir: a place that cannot be made is a resource error") {
  const Scratch scratch;
  write_file(scratch / "file", "");
  const test::Environment own("LANCET_CACHE", (scratch / "file" / "below").string());
  CHECK(error_of([] { (void)user_cache_dir(); })->kind() == ErrorKind::kResource);
}

TEST_CASE("share_dir: LANCET_SHARE wins and a wrong one is a resource error") {
  const Scratch scratch;
  {
    const test::Environment own("LANCET_SHARE", scratch.path().string());
    CHECK(share_dir() == scratch.path());
  }
  const test::Environment wrong("LANCET_SHARE", (scratch / "no").string());
  const auto error = error_of([] { (void)share_dir(); });
  REQUIRE(error);
  CHECK(error->kind() == ErrorKind::kResource);
  CHECK(error->hint().find("LANCET_SHARE") != std::string::npos);
}

TEST_CASE("share_dir: a build below the source tree finds the share directory of the source") {
  const fs::path source = LANCET_SOURCE_DIR;
  const fs::path binary = fs::read_symlink("/proc/self/exe");
  if (!binary.string().starts_with(source.string() + "/")) LANCET_SKIP("built outside the source");
  const test::Environment none("LANCET_SHARE", "");
  CHECK(fs::equivalent(share_dir(), source / "share"));
}
