// Second moments that another tool collected.
#include <algorithm>
#include <array>

#include <fmt/format.h>
#include <fmt/ranges.h>

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

bool is_number(std::string_view text) {
  return !text.empty() && text.size() < 10 &&
         text.find_first_not_of("0123456789") == std::string_view::npos;
}

std::int64_t number_of(std::string_view text) { return std::stoll(std::string(text)); }

std::vector<std::string_view> split_at_dots(std::string_view name) {
  std::vector<std::string_view> out;
  for (std::size_t at = 0; at <= name.size();) {
    const std::size_t end = std::min(name.find('.', at), name.size());
    out.push_back(name.substr(at, end - at));
    at = end + 1;
  }
  return out;
}

/// As layer_in_name; without such a word any number between dots.
std::optional<std::int64_t> layer_of_tensor(std::string_view name) {
  if (const auto layer = layer_in_name(name)) return layer;
  for (const std::string_view part : split_at_dots(name)) {
    if (is_number(part)) return number_of(part);
  }
  return std::nullopt;
}

/// Digits at the end of a name, which may count something else: "mom2".
bool ends_in(std::string_view name, std::int64_t layer) {
  const std::size_t digits = name.find_last_not_of("0123456789") + 1;
  return is_number(name.substr(digits)) && number_of(name.substr(digits)) == layer;
}

[[noreturn]] void fail_layer(std::int64_t layer, const std::string& found,
                             const std::string& source) {
  fail(ErrorKind::kMismatch, "covariance",
       fmt::format("expected second moments of layer {}, found those of {} ({})", layer, found,
                   source));
}

struct NpzMoment {
  const NpyArray& sum;  ///< [d_ff, d_ff]
  double keys = 0;      ///< that were added up
};

NpzMoment find_moment(const std::vector<NpyArray>& arrays, std::int64_t d_ff,
                      const std::string& source) {
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
  return {*sum, keys};
}

at::Tensor read_npz(const MappedFile& file, std::int64_t d_ff, std::int64_t& tokens) {
  const std::string source = file.path().string();
  const auto arrays = parse_npz(file.bytes(), source);
  const auto [sum, keys] = find_moment(arrays, d_ff, source);
  tokens = static_cast<std::int64_t>(keys);
  at::Tensor matrix = at::empty({d_ff, d_ff}, at::kDouble);
  double* out = matrix.data_ptr<double>();
  for (std::int64_t i = 0; i < d_ff * d_ff; ++i)
    out[i] = npy_number(sum, static_cast<std::uint64_t>(i), source) / keys;
  return matrix;
}

const TensorInfo& pick_tensor(const SafetensorsHeader& header, std::int64_t layer,
                              const std::string& source) {
  std::vector<const TensorInfo*> unnamed, named, ending;
  std::vector<std::int64_t> others;
  for (const TensorInfo& info : header.tensors) {
    if (info.shape.size() != 2 || info.shape[0] != info.shape[1]) continue;
    const auto told = layer_of_tensor(info.name);
    if (told == layer) named.push_back(&info);
    if (told && told != layer) others.push_back(*told);
    if (told) continue;
    unnamed.push_back(&info);
    if (ends_in(info.name, layer)) ending.push_back(&info);
  }
  if (named.size() == 1) return *named.front();
  if (named.empty() && ending.size() == 1) return *ending.front();
  if (named.empty() && others.empty() && unnamed.size() == 1) return *unnamed.front();
  if (named.empty() && !others.empty()) {
    std::ranges::sort(others);
    fail_layer(layer, fmt::format("{}", fmt::join(others, ", ")), source);
  }
  fail(ErrorKind::kInput, "covariance",
       fmt::format("expected one square matrix, or one that names layer {}, found {} ({})", layer,
                   named.size() + unnamed.size(), source));
}

const TensorInfo& find_tensor(const SafetensorsHeader& header, std::int64_t layer,
                              std::int64_t d_ff, const std::string& source) {
  const TensorInfo& info = pick_tensor(header, layer, source);
  check_size(info.shape[0], info.shape[1], d_ff, source);
  return info;
}

/// kInput in words of statistics where the file is named as no .safetensors and is none.
SafetensorsHeader header_of(const MappedFile& file) {
  try {
    return parse_safetensors(file.bytes(), file.size(), file.path().string());
  } catch (const Error& error) {
    if (error.kind() != ErrorKind::kInput || file.path().extension() == ".safetensors") throw;
    fail(ErrorKind::kInput, "covariance",
         fmt::format("expected second moments in an .npz or .safetensors file, found neither ({})",
                     file.path().string()),
         "ROME's are .npz files, `lancet covariance` writes .safetensors");
  }
}

at::Tensor read_tensor(const MappedFile& file, std::int64_t layer, std::int64_t d_ff,
                       std::int64_t& tokens) {
  const std::string source = file.path().string();
  const SafetensorsHeader header = header_of(file);
  const TensorInfo& info = find_tensor(header, layer, d_ff, source);
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

bool is_npz(const MappedFile& file) {
  return file.size() >= 2 && load_le<std::uint16_t>(file.bytes().data()) == 0x4B50;
}

/// An .npz has no name inside that tells a layer.
void check_file_name(const MappedFile& file, std::int64_t layer) {
  const auto told = layer_in_name(file.path().filename().string());
  if (is_npz(file) && told && told != layer)
    fail_layer(layer, std::to_string(*told), file.path().string());
}

}  // namespace

std::optional<std::int64_t> layer_in_name(std::string_view name) {
  constexpr std::array<std::string_view, 5> kWords{"layers", "layer", "h", "blocks", "block"};
  const auto parts = split_at_dots(name);
  for (std::size_t i = 1; i < parts.size(); ++i) {
    if (is_number(parts[i]) && std::ranges::find(kWords, parts[i - 1]) != kWords.end())
      return number_of(parts[i]);
  }
  return std::nullopt;
}

void check_covariance(const fs::path& path, std::int64_t layer, std::int64_t d_ff) {
  const MappedFile file(path);
  const std::string source = path.string();
  check_file_name(file, layer);
  if (is_npz(file)) {
    (void)find_moment(parse_npz(file.bytes(), source), d_ff, source);
  } else {
    (void)find_tensor(header_of(file), layer, d_ff, source);
  }
}

Covariance read_covariance(const fs::path& path, std::int64_t layer, std::int64_t d_ff) {
  const MappedFile file(path);
  check_file_name(file, layer);
  Covariance out;
  out.matrix =
      is_npz(file) ? read_npz(file, d_ff, out.tokens) : read_tensor(file, layer, d_ff, out.tokens);
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
