#include "formats/containers/npz.h"

#include <cstring>

#include "core/error.h"
#include "core/rng.h"
#include "tests/catch.h"
#include "tests/formats/scratch.h"

using namespace lancet;

namespace {

void put(std::string& out, std::uint64_t value, int bytes) {
  for (int i = 0; i < bytes; ++i) out += static_cast<char>(value >> (8 * i));
}

std::string npy(const std::string& descr, const std::string& shape, const std::string& data,
                int version = 1) {
  std::string header =
      "{'descr': '" + descr + "', 'fortran_order': False, 'shape': (" + shape + "), }";
  while ((header.size() + (version == 1 ? 11 : 13)) % 64 != 0) header += ' ';
  header += '\n';
  std::string out = "\x93NUMPY";
  out += static_cast<char>(version);
  out += '\0';
  put(out, header.size(), version == 1 ? 2 : 4);
  return out + header + data;
}

std::string floats(const std::vector<float>& values) {
  std::string out(values.size() * 4, '\0');
  std::memcpy(out.data(), values.data(), out.size());
  return out;
}

struct Member {
  std::string name, data;
  std::uint16_t method = 0, flags = 0;
};

/// As numpy.savez writes: ZIP64 local headers, plain central directory.
std::string zip(const std::vector<Member>& members, bool wide = true) {
  std::string out, directory;
  for (const Member& member : members) {
    const std::uint64_t offset = out.size();
    out += "PK\x03\x04";
    put(out, 45, 2);
    put(out, member.flags, 2);
    put(out, member.method, 2);
    put(out, 0, 4);
    put(out, 0, 4);
    put(out, wide ? 0xFFFFFFFF : member.data.size(), 4);
    put(out, wide ? 0xFFFFFFFF : member.data.size(), 4);
    put(out, member.name.size(), 2);
    put(out, wide ? 20 : 0, 2);
    out += member.name;
    if (wide) {
      put(out, 1, 2);
      put(out, 16, 2);
      put(out, member.data.size(), 8);
      put(out, member.data.size(), 8);
    }
    out += member.data;
    directory += "PK\x01\x02";
    put(directory, 45, 2);
    put(directory, 45, 2);
    put(directory, member.flags, 2);
    put(directory, member.method, 2);
    put(directory, 0, 4);
    put(directory, 0, 4);
    put(directory, member.data.size(), 4);
    put(directory, member.data.size(), 4);
    put(directory, member.name.size(), 2);
    put(directory, 0, 2);
    put(directory, 0, 2);
    put(directory, 0, 2);
    put(directory, 0, 2);
    put(directory, 0, 4);
    put(directory, offset, 4);
    directory += member.name;
  }
  const std::uint64_t at = out.size();
  out += directory + "PK\x05\x06";
  put(out, 0, 4);
  put(out, members.size(), 2);
  put(out, members.size(), 2);
  put(out, directory.size(), 4);
  put(out, at, 4);
  put(out, 0, 2);
  return out;
}

std::vector<NpyArray> parse(const std::string& bytes) {
  return parse_npz(std::as_bytes(std::span(bytes)), "test.npz");
}

std::string refusal(const std::string& bytes) {
  try {
    (void)parse(bytes);
  } catch (const Error& error) {
    CHECK(error.kind() == ErrorKind::kInput);
    return error.what();
  }
  return "accepted";
}

}  // namespace

TEST_CASE("npz: numpy's ZIP64 local headers and npy versions 1 to 3 are read") {
  for (const bool wide : {true, false}) {
    for (const int version : {1, 2, 3}) {
      const std::string file =
          zip({{"a.npy", npy("<f4", "2, 3", floats({1, 2, 3, 4, 5, 6}), version)},
               {"b.npy", npy("<i8", "", std::string("\x07\0\0\0\0\0\0\0", 8), version)}},
              wide);
      const auto arrays = parse(file);
      REQUIRE(arrays.size() == 2);
      CHECK(arrays[0].name == "a");
      CHECK(arrays[0].shape == std::vector<std::int64_t>{2, 3});
      CHECK(npy_number(arrays[0], 4, "t") == 5);
      CHECK(arrays[1].shape.empty());
      CHECK(npy_number(arrays[1], 0, "t") == 7);
      CHECK_THROWS_AS(npy_number(arrays[1], 1, "t"), Error);
    }
  }
}

TEST_CASE("npz: hostile archives are refused with the reason") {
  const std::string good = npy("<f4", "2", floats({1, 2}));
  CHECK_THAT(refusal(""), Catch::Contains("a zip archive"));
  CHECK_THAT(refusal(std::string(100, 'x')), Catch::Contains("end record"));
  CHECK_THAT(refusal(zip({{"a.npy", good, 8, 0}})), Catch::Contains("method 8"));
  CHECK_THAT(refusal(zip({{"a.npy", good, 0, 1}})), Catch::Contains("encrypted"));
  CHECK_THAT(refusal(zip({{"a.npy", good}, {"a.npy", good}})), Catch::Contains("twice"));
  CHECK_THAT(refusal(zip({{"a.npy", "hello world"}})), Catch::Contains("npy array"));
  CHECK_THAT(refusal(zip({{"a.npy", npy("<f4", "3", floats({1, 2}))}})),
             Catch::Contains("bytes of data"));
  CHECK_THAT(refusal(zip({{"a.npy", npy("<f4", "4611686018427387904, 4", floats({1, 2}))}})),
             Catch::Contains("2^64"));
  CHECK_THAT(refusal(zip({{"a.npy", npy("<f4", "-1", floats({1, 2}))}})), Catch::Contains("shape"));
  CHECK_THAT(refusal(zip({{"a.npy", npy("|O", "1", "12345678")}})), Catch::Contains("npy type"));
  CHECK_THAT(refusal(zip({{"a.npy", npy(">f4", "2", floats({1, 2}))}})),
             Catch::Contains("npy type"));
  std::string member = good;
  member[6] = 9;
  CHECK_THAT(refusal(zip({{"a.npy", member}})), Catch::Contains("version"));
  member = good;
  member[8] = member[9] = '\xff';
  CHECK_THAT(refusal(zip({{"a.npy", member}})), Catch::Contains("header"));
}

TEST_CASE("npz: members that overlap are refused") {
  std::string file =
      zip({{"a.npy", npy("<f4", "2", floats({1, 2}))}, {"b.npy", npy("<f4", "2", floats({1, 2}))}});
  const std::size_t second = file.rfind("PK\x01\x02");
  std::memset(file.data() + second + 42, 0, 4);  // its local offset: the first member
  CHECK(refusal(file) != "accepted");
}

TEST_CASE("npz: a file cut anywhere, or with a byte changed, is refused or read without harm") {
  const std::string file = zip({{"a.npy", npy("<f8", "2, 2", std::string(32, '\1'))},
                                {"b.npy", npy("<i8", "", std::string(8, '\1'))}});
  for (std::size_t size = 0; size < file.size(); ++size)
    CHECK(refusal(file.substr(0, size)) != "accepted");
  const Random random(1, "npz");
  for (std::uint64_t i = 0; i < 3000; ++i) {
    std::string changed = file;
    for (std::uint64_t j = 0; j < 1 + i % 3; ++j) {
      changed[random.bits(8 * i + 2 * j) % file.size()] =
          static_cast<char>(random.bits(8 * i + 2 * j + 1));
    }
    (void)refusal(changed);
  }
}

TEST_CASE("npz: what is written is read back, with ZIP64 local headers, and the same bytes twice") {
  const Scratch scratch;
  const std::vector<float> values{1, 2, 3, 4, 5, 6};
  const std::int64_t count = 7;
  const std::vector<NpyOutput> arrays{
      {"mom2.mom2", "<f4", {2, 3}, std::as_bytes(std::span(values))},
      {"mom2.count", "<i8", {}, std::as_bytes(std::span(&count, 1))},
      {"one", "<f4", {1}, std::as_bytes(std::span(values)).first(4)}};
  save_npz(scratch / "a.npz", arrays);
  save_npz(scratch / "b.npz", arrays);
  const std::string text = read_file(scratch / "a.npz");
  CHECK(text == read_file(scratch / "b.npz"));
  const auto read = parse(text);
  REQUIRE(read.size() == 3);
  CHECK(read[0].name == "mom2.mom2");
  CHECK(read[0].shape == std::vector<std::int64_t>{2, 3});
  CHECK_FALSE(read[0].fortran);
  CHECK(npy_number(read[0], 5, "t") == 6);
  CHECK(npy_number(read[1], 0, "t") == 7);
  CHECK(read[2].shape == std::vector<std::int64_t>{1});
  CHECK((reinterpret_cast<std::uintptr_t>(read[0].data.data()) -
         reinterpret_cast<std::uintptr_t>(text.data()) - 30 - 20 - read[0].name.size() - 4) %
            64 ==
        0);
  CHECK_THROWS_AS(
      save_npz(scratch / "c.npz", {{"x", "<f8", {2}, std::as_bytes(std::span(values))}}), Error);
  CHECK_FALSE(fs::exists(scratch / "c.npz"));
}
