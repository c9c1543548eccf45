// Weight files that were interrupted: what stands is taken over where its bytes are those.

#include "formats/containers/tensor_file.h"

#include "core/error.h"
#include "core/hash.h"
#include "core/stream_file.h"
#include "tests/catch.h"
#include "tests/formats/scratch.h"

namespace lancet {
namespace {

constexpr std::int64_t kValues = 1'500'000;  ///< of a tensor: no whole page, and two to a block
constexpr int kTensors = 13;                 ///< 78 MB

/// Tensors that count in `written` how many of them were asked for; number `failing` throws in its
/// middle.
std::vector<OutputTensor> tensors(int& written, int failing = -1) {
  std::vector<OutputTensor> out;
  for (int t = 0; t < kTensors; ++t) {
    out.push_back({"t" + std::to_string(10 + t),
                   DType::kF32,
                   {kValues},
                   [t, failing, &written](const std::function<void(Bytes)>& emit) {
                     ++written;
                     std::vector<float> values(kValues);
                     for (std::size_t i = 0; i < values.size(); ++i)
                       values[i] = static_cast<float>(static_cast<std::size_t>(t) * 7919 + i);
                     const Bytes all = std::as_bytes(std::span(values));
                     emit(all.first(all.size() / 2));
                     if (t == failing) fail(ErrorKind::kInterrupted, "test", "stop");
                     emit(all.subspan(all.size() / 2));
                   }});
  }
  return out;
}

struct Attempt {
  int written = 0;
  std::uint64_t resumed = 0;
  std::string hash;
};

Attempt attempt(const fs::path& path, int failing = -1, const std::string& note = "a") {
  Attempt out;
  const TensorFile file = lay_out_safetensors(tensors(out.written, failing), {{"note", note}});
  try {
    out.hash = resume_tensor_file(path, file, out.resumed);
  } catch (const Error& error) {
    REQUIRE(error.kind() == ErrorKind::kInterrupted);
  }
  return out;
}

std::string straight(const fs::path& path, const std::string& note = "a") {
  int written = 0;
  return save_tensor_file(path, lay_out_safetensors(tensors(written), {{"note", note}}));
}

void flip(const fs::path& path, std::uint64_t offset) {
  std::string bytes = read_file(path);
  bytes[offset] = static_cast<char>(bytes[offset] ^ 1);
  write_file(path, bytes);
}

}  // namespace

TEST_CASE("tensor file: an interrupted one goes on behind the last tensor that went to disk") {
  const Scratch scratch;
  const std::string expected = straight(scratch / "straight");
  for (const int failing : {3, 7, kTensors - 1}) {
    const fs::path path = scratch / "x";
    CHECK(attempt(path, failing).hash.empty());
    CHECK_FALSE(fs::exists(path));
    const Attempt rest = attempt(path);
    CHECK(rest.resumed > 0);
    CHECK(rest.written <= kTensors - failing + 2);  // blocks under way are lost
    CHECK(rest.hash == expected);
    CHECK(sha256_file(path) == expected);
    fs::remove(path);
    CHECK(fs::directory_iterator(scratch.path()) != fs::directory_iterator());
    CHECK_FALSE(fs::exists(scratch / "x.part"));
    CHECK_FALSE(fs::exists(scratch / "x.marks"));
  }
}

TEST_CASE("tensor file: what was damaged since is written again, another header begins anew") {
  const Scratch scratch;
  const fs::path path = scratch / "x";
  (void)attempt(path, 9);
  flip(scratch / "x.part", 3 * kValues * 4 + 100'000);  // in the fourth tensor
  const Attempt rest = attempt(path);
  CHECK(rest.written == kTensors - 3);
  CHECK(rest.hash == straight(scratch / "straight"));
  (void)attempt(path, 9);
  const Attempt other = attempt(path, -1, "b");
  CHECK(other.written == kTensors);
  CHECK(other.hash == straight(scratch / "straight", "b"));
}

TEST_CASE("tensor file: torn marks count as far as they are whole") {
  const Scratch scratch;
  (void)attempt(scratch / "x", 9);
  const std::string marks = read_file(scratch / "x.marks");
  for (const std::size_t size : {std::size_t{0}, std::size_t{7}, std::size_t{100}}) {
    write_file(scratch / "x.marks", std::string_view(marks).substr(0, size));
    (void)attempt(scratch / "x", 9);
  }
  write_file(scratch / "x.marks", marks + "99 99 nonsense\n\xff");
  CHECK(attempt(scratch / "x").hash == straight(scratch / "straight"));
}

TEST_CASE("tensor file: a failure before anything is on disk leaves nothing to go on with") {
  const Scratch scratch;
  (void)attempt(scratch / "x", 0);
  CHECK_FALSE(fs::exists(scratch / "x.part"));
  CHECK(attempt(scratch / "x").resumed == 0);
}

}  // namespace lancet
