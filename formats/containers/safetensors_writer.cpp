// safetensors writer, byte-identical with the reference library: tensors by dtype descending (the
// order of DType), then by name; compact JSON; the header padded with spaces to a multiple of 8
// bytes.
#include <algorithm>

#include <fmt/format.h>

#include "core/error.h"
#include "core/json.h"
#include "core/text.h"
#include "formats/containers/safetensors.h"
#include "formats/containers/safetensors_limits.h"
#include "formats/containers/tensor_file.h"

namespace lancet {
namespace {

[[noreturn]] void broken(const std::string& message) {
  fail(ErrorKind::kInternal, "safetensors", message);
}

std::uint64_t tensor_bytes(const OutputTensor& tensor) {
  std::uint64_t elements = 1;
  for (const std::int64_t dim : tensor.shape) {
    const auto product =
        dim < 0 ? std::nullopt : checked_mul(elements, static_cast<std::uint64_t>(dim));
    if (!product)
      broken(fmt::format("tensor '{}' has an impossible shape", printable(tensor.name)));
    elements = *product;
  }
  const auto bytes = dtype_bytes(tensor.dtype, elements);
  if (!bytes) broken(fmt::format("tensor '{}' does not fill whole bytes", printable(tensor.name)));
  return *bytes;
}

void check_writable(const std::vector<OutputTensor>& tensors) {
  for (const OutputTensor& tensor : tensors) {
    if (dtype_info(tensor.dtype).quantized) {
      fail(ErrorKind::kMismatch, "safetensors",
           fmt::format("tensor '{}': expected a plain dtype, found {}", printable(tensor.name),
                       dtype_info(tensor.dtype).name),
           "give --dtype float32, bfloat16 or float16");
    }
    const std::string problem = safetensors_limits::tensor_name_problem(tensor.name);
    if (!problem.empty() || tensor.name == "__metadata__") {
      fail(ErrorKind::kInput, "safetensors",
           fmt::format("tensor '{}': {}", printable(tensor.name),
                       problem.empty() ? "expected another name, found a reserved one" : problem));
    }
  }
  const auto same = [](const OutputTensor& a, const OutputTensor& b) { return a.name == b.name; };
  std::vector<OutputTensor>::const_iterator twice = std::ranges::adjacent_find(tensors, same);
  if (twice != tensors.end())
    broken(fmt::format("tensor '{}' is written twice", printable(twice->name)));
}

/// The 8-byte length and the padded JSON; `total` receives the file's size.
std::string header_text(const std::vector<OutputTensor>& tensors,
                        const std::map<std::string, std::string>& metadata, std::uint64_t& total) {
  std::string text(8, '\0');
  text += '{';
  if (!metadata.empty()) text += "\"__metadata__\":" + dump_json(Json(metadata));
  std::uint64_t offset = 0;
  for (const OutputTensor& tensor : tensors) {
    const auto end = checked_add(offset, tensor_bytes(tensor));
    if (!end) broken("the tensors exceed 2^64 bytes");
    text += fmt::format("{}{}:{{\"dtype\":\"{}\",\"shape\":[{}],\"data_offsets\":[{},{}]}}",
                        text.size() > 9 ? "," : "", dump_json(Json(tensor.name)),
                        dtype_info(tensor.dtype).name, fmt::join(tensor.shape, ","), offset, *end);
    offset = *end;
  }
  text += '}';
  text.resize(checked_align(text.size(), 8).value(), ' ');
  if (text.size() - 8 > safetensors_limits::kMaxHeader) broken("the header exceeds 100 MB");
  store_le<std::uint64_t>(text.data(), text.size() - 8);
  total = text.size() + offset;
  return text;
}

}  // namespace

std::string safetensors_header(std::vector<OutputTensor>& tensors,
                               const std::map<std::string, std::string>& metadata,
                               std::uint64_t& total) {
  std::ranges::sort(tensors, {}, &OutputTensor::name);
  check_writable(tensors);
  std::ranges::stable_sort(tensors, std::greater{}, &OutputTensor::dtype);
  return header_text(tensors, metadata, total);
}

TensorFile lay_out_safetensors(std::vector<OutputTensor> tensors,
                               const std::map<std::string, std::string>& metadata) {
  TensorFile out;
  out.header = safetensors_header(tensors, metadata, out.total);
  out.tensors = std::move(tensors);
  return out;
}

std::string save_safetensors(const fs::path& path, std::vector<OutputTensor> tensors,
                             const std::map<std::string, std::string>& metadata) {
  return save_tensor_file(path, lay_out_safetensors(std::move(tensors), metadata));
}

}  // namespace lancet
