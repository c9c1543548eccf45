#include "surgery/cost.h"

#include <algorithm>

#include "surgery/down.h"

namespace lancet {
namespace {

constexpr double kFactorOperations = 3e10;  ///< a second, of one thread in float64

std::uint64_t square_bytes(const DecoderSpec& spec, std::int64_t layer) {
  const auto width = static_cast<std::uint64_t>(key_width(spec, layer));
  return width * width * sizeof(double);
}

}  // namespace

std::uint64_t parameters_of(const ModelSource& source) {
  std::uint64_t sum = 0;
  for (const TensorInfo& info : source.tensors()) sum += info.elements();
  return sum;
}

std::uint64_t moments_memory(const DecoderSpec& spec, const std::vector<std::int64_t>& layers) {
  std::uint64_t sum = 0, widest = 0;
  for (const std::int64_t layer : layers) {
    sum += 2 * square_bytes(spec, layer);
    widest = std::max(widest, square_bytes(spec, layer));
  }
  return sum + 2 * widest;
}

double moments_solve_seconds(const DecoderSpec& spec, const std::vector<std::int64_t>& layers,
                             bool decomposed) {
  double operations = 0;
  for (const std::int64_t layer : layers) {
    const auto width = static_cast<double>(key_width(spec, layer));
    operations += width * width * width * (decomposed ? 9 : 1.0 / 3);
  }
  return operations / kFactorOperations;
}

double moments_collect_seconds(const ModelSource& source, const DecoderSpec& spec,
                               const std::vector<std::int64_t>& layers, double tokens,
                               bool one_pass) {
  const auto parameters = static_cast<double>(parameters_of(source));
  double passes = 0, products = 0;
  for (const std::int64_t layer : layers) {
    const auto width = static_cast<double>(key_width(spec, layer));
    const double below =
        parameters * static_cast<double>(layer + 1) / static_cast<double>(spec.layers);
    passes = one_pass ? std::max(passes, below) : passes + below;
    products += width * width;  // of the upper half, two operations each
  }
  return tokens * (2 * passes + products) / kOperationsPerSecond;
}

}  // namespace lancet
