// Second moments that another tool collected.
#include <algorithm>

#include <fmt/format.h>

#include "core/error.h"
#include "core/hash.h"
#include "formats/containers/npz.h"
#include "formats/containers/safetensors.h"
#include "formats/quant/decode.h"
#include "surgery/covariance.h"

namespace lancet {
namespace {

void check_size(std::int64_t rows, std::int64_t columns, std::int64_t d_ff,
                const std::string& source) {
  if (rows == d_ff && columns == d_ff) return;
  fail(ErrorKind::kMismatch, "covariance",
       fmt::format("expected a {} x {} matrix, found {} x {} ({})", d_ff, d_ff, rows, columns,
                   source),
       "the statistics belong to another model or layer");
}

const NpyArray* find(const std::vector<NpyArray>& arrays, std::string_view name) {
  const auto found = std::ranges::find(arrays, name, &NpyArray::name);
  return found == arrays.end() ? nullptr : &*found;
}

at::Tensor read_npz(const MappedFile& file, std::int64_t d_ff, std::int64_t& tokens) {
  const std::string source = file.path().string();
  const auto arrays = parse_npz(file.bytes(), source);
  const NpyArray* sum = find(arrays, "mom2.mom2");
  const NpyArray* count = find(arrays, "mom2.count");
  if (sum == nullptr || count == nullptr || !count->shape.empty() || sum->shape.size() != 2) {
    fail(ErrorKind::kInput, "covariance",
         fmt::format("expected the arrays mom2.mom2 [n, n] and mom2.count, found {} arrays ({})",
                     arrays.size(), source));
  }
  check_size(sum->shape[0], sum->shape[1], d_ff, source);
  const double keys = npy_number(*count, 0, source);
  if (!(keys >= 1))
    fail(ErrorKind::kInput, "covariance",
         fmt::format("expected a positive count, found {} ({})", keys, source));
  tokens = static_cast<std::int64_t>(keys);
  at::Tensor matrix = at::empty({d_ff, d_ff}, at::kDouble);
  double* out = matrix.data_ptr<double>();
  for (std::int64_t i = 0; i < d_ff * d_ff; ++i)
    out[i] = npy_number(*sum, static_cast<std::uint64_t>(i), source) / keys;
  return matrix;
}

const TensorInfo& pick_tensor(const SafetensorsHeader& header, std::int64_t layer,
                              const std::string& source) {
  const std::string inside = fmt::format(".{}.", layer), end = std::to_string(layer);
  std::vector<const TensorInfo*> square, named;
  for (const TensorInfo& info : header.tensors) {
    if (info.shape.size() != 2 || info.shape[0] != info.shape[1]) continue;
    square.push_back(&info);
    if (info.name.find(inside) != std::string::npos || info.name.ends_with(end))
      named.push_back(&info);
  }
  if (named.size() == 1) return *named.front();
  if (square.size() == 1) return *square.front();
  fail(ErrorKind::kInput, "covariance",
       fmt::format("expected one square matrix, or one that names layer {}, found {} ({})", layer,
                   square.size(), source));
}

at::Tensor read_tensor(const MappedFile& file, std::int64_t layer, std::int64_t d_ff,
                       std::int64_t& tokens) {
  const std::string source = file.path().string();
  const SafetensorsHeader header = parse_safetensors(file.bytes(), file.size(), source);
  const TensorInfo& info = pick_tensor(header, layer, source);
  check_size(info.shape[0], info.shape[1], d_ff, source);
  const Bytes bytes = file.bytes().subspan(info.offset, info.bytes);
  const auto count = header.metadata.find("tokens");
  if (count != header.metadata.end()) tokens = std::atoll(count->second.c_str());
  at::Tensor matrix = at::empty({d_ff, d_ff}, info.dtype == DType::kF64 ? at::kDouble : at::kFloat);
  if (info.dtype == DType::kF64) {
    std::memcpy(matrix.data_ptr(), bytes.data(), bytes.size());
  } else {
    decode_f32(info.dtype, bytes,
               {matrix.data_ptr<float>(), static_cast<std::size_t>(matrix.numel())});
  }
  return matrix.to(at::kDouble);
}

}  // namespace

Covariance read_covariance(const fs::path& path, std::int64_t layer, std::int64_t d_ff) {
  const MappedFile file(path);
  const bool zip = file.size() >= 2 && load_le<std::uint16_t>(file.bytes().data()) == 0x4B50;
  Covariance out;
  out.matrix = zip ? read_npz(file, d_ff, out.tokens) : read_tensor(file, layer, d_ff, out.tokens);
  const double scale = out.matrix.abs().max().item<double>();
  const double skew = (out.matrix - out.matrix.t()).abs().max().item<double>();
  if (!(skew <= 1e-3 * scale)) {
    fail(ErrorKind::kNumeric, "covariance",
         fmt::format("expected a symmetric matrix, found a difference of {} to its transpose ({})",
                     skew, path.string()));
  }
  out.identity = {{"file", path.filename().string()},
                  {"sha256", sha256_hex(file.bytes())},
                  {"tokens", out.tokens}};
  return out;
}

}  // namespace lancet
