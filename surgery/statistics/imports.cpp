#include "surgery/statistics/imports.h"

#include <algorithm>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "core/error.h"
#include "surgery/covariance.h"
#include "surgery/down.h"

namespace lancet {
namespace {

/// The place of a file's layer in `layers`.
std::size_t place_of(const fs::path& file, std::int64_t layer,
                     const std::vector<std::int64_t>& layers) {
  const auto found = std::ranges::find(layers, layer);
  if (found != layers.end()) return static_cast<std::size_t>(found - layers.begin());
  fail(ErrorKind::kMismatch, "covariance",
       fmt::format("expected --import files of the layers {}, found one of layer {} ({})",
                   fmt::join(layers, ", "), layer, file.string()));
}

}  // namespace

std::vector<fs::path> import_order(const std::vector<fs::path>& files,
                                   const std::vector<std::int64_t>& layers) {
  std::vector<fs::path> out(layers.size()), unnamed;
  for (const fs::path& file : files) {
    const auto layer = layer_in_name(file.filename().string());
    if (!layer) {
      unnamed.push_back(file);
      continue;
    }
    fs::path& place = out[place_of(file, *layer, layers)];
    if (!place.empty()) {
      fail(ErrorKind::kMismatch, "covariance",
           fmt::format("expected one --import file of layer {}, found two ({}, {})", *layer,
                       place.string(), file.string()));
    }
    place = file;
  }
  std::vector<std::int64_t> left;
  for (std::size_t i = 0; i < layers.size(); ++i) {
    if (out[i].empty()) left.push_back(layers[i]);
  }
  if (unnamed.empty() && !left.empty()) {
    fail(ErrorKind::kMismatch, "covariance",
         fmt::format("expected an --import file of layer {}, found none", fmt::join(left, ", ")));
  }
  if (unnamed.size() != left.size()) {
    fail(ErrorKind::kUsage, "covariance",
         fmt::format("expected one --import for each of {} layers, found {}", layers.size(),
                     files.size()));
  }
  auto next = unnamed.begin();
  for (fs::path& place : out) {
    if (place.empty()) place = *next++;
  }
  return out;
}

Moments read_imports(const Decoder& model, const std::vector<fs::path>& files,
                     const std::vector<std::int64_t>& layers, Json& identity) {
  Moments out{layers, {}};
  identity = {{"imports", Json::array()}};
  for (std::size_t i = 0; i < layers.size(); ++i) {
    const Covariance one = read_covariance(files[i], layers[i], key_width(model, layers[i]));
    if (one.tokens < 1 || (i > 0 && one.tokens != out.tokens))
      fail(ErrorKind::kMismatch, "covariance",
           fmt::format("expected files that count the same tokens, found {} and {} ({})",
                       out.tokens, one.tokens, files[i].string()));
    out.tokens = one.tokens;
    out.sums.push_back(one.matrix * static_cast<double>(one.tokens));
    identity["imports"].push_back(one.identity);
  }
  return out;
}

}  // namespace lancet
