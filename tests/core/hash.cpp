#include "core/hash.h"

#include "tests/catch.h"
#include "tests/core/scratch.h"

using namespace lancet;

TEST_CASE("Sha256: the FIPS 180 examples come out") {
  CHECK(sha256_hex(std::string_view()) ==
        "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  CHECK(sha256_hex("abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  CHECK(sha256_hex(std::string(1'000'000, 'a')) ==
        "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
}

TEST_CASE("Sha256: pieces and the whole give the same digest and so does a file") {
  const std::string text(3'000'001, 'x');
  Sha256 hash;
  hash.update(std::string_view(text).substr(0, 17)).update(std::string_view(text).substr(17));
  const std::string expected = sha256_hex(text);
  CHECK(hash.hex() == expected);
  const test::Scratch scratch;
  write_file(scratch / "f", text);
  CHECK(sha256_file(scratch / "f") == expected);
}

TEST_CASE("Sha256: an update after hex is our own bug and a missing file is an input error") {
  Sha256 hash;
  CHECK(hash.hex().size() == 64);
  CHECK(test::error_of([&] { hash.update("x"); })->kind() == ErrorKind::kInternal);
  const test::Scratch scratch;
  CHECK(test::error_of([&] { (void)sha256_file(scratch / "no"); })->kind() == ErrorKind::kInput);
  CHECK(test::error_of([&] { (void)sha256_file(scratch.path()); })->kind() == ErrorKind::kInput);
}
