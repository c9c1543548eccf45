// Weights that stay in the mapped file: the results of copied ones, for as long as the model lives.

#include <cstring>
#include <fstream>
#include <string>

#include "core/file.h"
#include "core/memory.h"
#include "tests/catch.h"
#include "tests/model/model_copy.h"
#include "tests/model/tiny.h"

using namespace lancet;
using namespace lancet::test;

namespace {

Decoder load(const fs::path& folder, Residence residence, at::ScalarType dtype = at::kFloat) {
  return Decoder::load(ModelSource::open(folder), {.dtype = dtype, .residence = residence});
}

/// Where the first byte of a weight lies: in a mapped file (true), or in memory of our own.
bool in_a_file(const at::Tensor& weight) {
  std::ifstream maps("/proc/self/maps");
  const auto at = reinterpret_cast<std::uintptr_t>(weight.const_data_ptr());
  for (std::string line; std::getline(maps, line);) {
    const std::size_t dash = line.find('-');
    const auto first = std::stoull(line.substr(0, dash), nullptr, 16);
    const auto last = std::stoull(line.substr(dash + 1), nullptr, 16);
    if (at >= first && at < last) return line.find(".safetensors") != std::string::npos;
  }
  return false;
}

/// The safetensors file with `count` blanks more behind its header, so that tensors begin
/// elsewhere.
void shift(const fs::path& file, std::size_t count) {
  std::string bytes = read_file(file);
  std::uint64_t length = 0;
  std::memcpy(&length, bytes.data(), sizeof length);
  bytes.insert(sizeof length + length, count, ' ');
  length += count;
  std::memcpy(bytes.data(), &length, sizeof length);
  write_file(file, bytes);
}

}  // namespace

TEST_CASE("residence: mapped weights give the bits of copied ones, in every family") {
  const at::NoGradGuard no_grad;
  for (const std::string& name : family_names()) {
    for (const at::ScalarType dtype : {at::kFloat, at::kBFloat16}) {
      INFO(name << " " << c10::toString(dtype));
      const Decoder copied = load(folder_of(name), Residence::kCopied, dtype);
      const Decoder mapped = load(folder_of(name), Residence::kMapped, dtype);
      const at::Tensor ids = random_ids(2, 9) % copied.spec().vocab;
      CHECK(same_bits(mapped.forward(ids), copied.forward(ids)));
      CHECK(mapped.weight_bytes() == copied.weight_bytes());
    }
  }
}

TEST_CASE("residence: a mapped matrix lies in its file, an edited one does not, and both stay") {
  const ScratchFolder scratch("residence");
  write_changed(folder_of("plain"), scratch.path(), [](StoredTensors&, Json&) {});
  const at::Tensor ids = random_ids(1, 9);
  const Decoder mapped =
      load(scratch.path(), Residence::kMapped, at::kBFloat16);  // its ModelSource is gone
  const MatrixRef down = mapped.mlp_down(1);
  CHECK(in_a_file(mapped.weight(down)));
  CHECK_FALSE(in_a_file(load(scratch.path(), Residence::kCopied, at::kBFloat16).weight(down)));
  // Small beside what memory is left.
  CHECK_FALSE(in_a_file(load(scratch.path(), Residence::kAuto, at::kBFloat16).weight(down)));
  const at::Tensor before = mapped.forward(ids);
  const Decoder edited = mapped.with_change(down, at::ones({down.d_out, down.d_in}));
  CHECK_FALSE(in_a_file(edited.weight(down)));
  fs::remove(scratch.path() / "model.safetensors");
  CHECK(same_bits(mapped.forward(ids), before));
  CHECK_FALSE(same_bits(edited.forward(ids), before));
}

TEST_CASE("residence: tensors that begin at odd bytes are copied") {
  const ScratchFolder scratch("residence-odd");
  write_changed(folder_of("plain"), scratch.path(), [](StoredTensors&, Json&) {});
  const at::Tensor ids = random_ids(1, 9);
  const at::Tensor expected = load(scratch.path(), Residence::kMapped).forward(ids);
  shift(scratch.path() / "model.safetensors", 1);
  const Decoder odd = load(scratch.path(), Residence::kMapped, at::kBFloat16);
  CHECK_FALSE(in_a_file(odd.weight(odd.mlp_down(1))));
  CHECK(same_bits(odd.forward(ids), expected));
  shift(scratch.path() / "model.safetensors", 1);
  const Decoder even = load(scratch.path(), Residence::kMapped, at::kBFloat16);
  CHECK(in_a_file(even.weight(even.mlp_down(1))));
  CHECK(same_bits(even.forward(ids), expected));
}

TEST_CASE("residence: NaN in a mapped weight is refused with tensor and element") {
  const ScratchFolder scratch("residence-nan");
  write_changed(folder_of("plain"), scratch.path(), [](StoredTensors& tensors, Json&) {
    const std::uint16_t nan = 0x7fc0;
    std::memcpy(tensors.at("model.layers.0.mlp.up_proj.weight").bytes.data() + 2 * 41, &nan, 2);
  });
  CHECK_THAT(error_of([&] { static_cast<void>(load(scratch.path(), Residence::kMapped)); }),
             Catch::Contains("element 41 of 'model.layers.0.mlp.up_proj.weight'"));
}

TEST_CASE("residence: memory that is left is more than none and no more than there is") {
  const std::uint64_t left = available_memory();
  CHECK(left > 16 << 20);
  CHECK(left < 1ULL << 50);
}
