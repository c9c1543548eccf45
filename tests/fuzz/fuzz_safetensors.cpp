// libFuzzer target: any bytes either parse as safetensors, with every tensor inside the file and
// none touching another, or are an input error; the same bytes as a shard index parse or are an
// input error. `fuzz_safetensors -lancet_seeds=DIR` writes the stored attacks as a corpus and ends.

#include <cstdlib>
#include <string_view>

#include "core/error.h"
#include "core/file.h"
#include "formats/containers/safetensors.h"
#include "formats/containers/sharded.h"
#include "tests/attacks/safetensors_attacks.h"
#include "tests/fuzz/broken.h"

namespace {

using lancet::Bytes;
using lancet::Error;
using lancet::ErrorKind;

using lancet::fuzz::broken;

/// Runs `call`; only an input error may leave it.
template <typename Call>
void tolerate(Call call) {
  try {
    call();
  } catch (const Error& error) {
    if (error.kind() != ErrorKind::kInput) broken("errors are input errors");
  }
}

void check_header(const lancet::SafetensorsHeader& header, std::uint64_t size) {
  std::uint64_t end = header.tensors.empty() ? size : header.tensors.front().offset;
  for (const auto& tensor : header.tensors) {
    if (tensor.offset != end) broken("tensors lie one after the other");
    if (tensor.bytes != lancet::dtype_bytes(tensor.dtype, tensor.elements()))
      broken("sizes agree with shapes");
    end = tensor.offset + tensor.bytes;
  }
  if (end != size) broken("tensors end with the file");
}

void write_seeds(const lancet::fs::path& folder) {
  lancet::fs::create_directories(folder);
  lancet::write_file(folder / "valid", lancet::attacks::valid_safetensors());
  std::size_t number = 0;
  for (const auto& attack : lancet::attacks::safetensors_attacks()) {
    if (attack.bytes.size() < 4096)
      lancet::write_file(folder / std::to_string(number++), attack.bytes);
  }
  for (const auto& attack : lancet::attacks::shard_attacks()) {
    const std::string& index = attack.files.at("model.safetensors.index.json");
    if (index.size() < 4096) lancet::write_file(folder / std::to_string(number++), index);
  }
}

}  // namespace

extern "C" int LLVMFuzzerInitialize(int* argc, char*** argv) {
  constexpr std::string_view kOption = "-lancet_seeds=";
  for (int i = 1; i < *argc; ++i) {
    const std::string_view argument = (*argv)[i];
    if (!argument.starts_with(kOption)) continue;
    write_seeds(argument.substr(kOption.size()));
    std::exit(0);
  }
  return 0;
}

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const Bytes file = std::as_bytes(std::span(data, size));
  tolerate([&] { check_header(lancet::parse_safetensors(file, size, "fuzz.safetensors"), size); });
  tolerate([&] {
    const std::string_view text(reinterpret_cast<const char*>(data), size);
    for (const auto& [name, shard] : lancet::parse_shard_index(text, "fuzz.index.json").tensors) {
      if (name.find('\0') != std::string::npos) broken("names are printable");
      static_cast<void>(shard);
    }
  });
  return 0;
}
