#include "core/plain_path.h"

#include "core/temporary.h"
#include "tests/catch.h"
#include "tests/core/scratch.h"

using namespace lancet;
using namespace lancet::test;

TEST_CASE("plain paths: '..' is what the file system finds, behind a link too") {
  const Scratch scratch;
  const fs::path root = fs::canonical(scratch.path());
  fs::create_directories(root / "real" / "deep");
  fs::create_directory(root / "here");
  fs::create_directory_symlink("../real/deep", root / "here" / "lk");
  fs::create_directory_symlink("nowhere", root / "here" / "gone");
  CHECK(plain_path(root / "here/lk/../ad") == root / "real" / "ad");
  CHECK(plain_path(root / "here/./lk/../../x") == root / "x");
  CHECK(plain_path(root / "here/lk") == root / "here" / "lk");  // the link itself
  CHECK(plain_path(root / "here/new/../ad") == root / "here" / "ad");
  CHECK(plain_path(root / "here/gone/../ad") == root / "here" / "gone" / ".." / "ad");
  CHECK(temporary::named_path(root / "here/lk/../ad/") == root / "real" / "ad");
  CHECK(plain_path("a/../../b/./c") == "../b/c");
  CHECK(plain_path("a/..") == ".");
  CHECK(plain_path("/../a/") == "/a/");
  CHECK(plain_path("").empty());
}
