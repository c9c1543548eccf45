#include "model/vocabulary.h"

#include <algorithm>
#include <cmath>
#include <string>

#include "core/error.h"
#include "model/sampling.h"

namespace lancet {

std::vector<IdRange> other_ids(std::vector<IdRange> ranges, std::int64_t vocab) {
  std::ranges::sort(ranges);
  std::vector<IdRange> out;
  std::int64_t next = 0;
  for (const auto& [first, last] : ranges) {
    if (first > next) out.emplace_back(next, std::min(first, vocab));
    next = std::max(next, last);
  }
  if (next < vocab) out.emplace_back(next, vocab);
  return out;
}

std::vector<IdRange> unsaid_ids(const DecoderSpec& spec, const SamplingOptions& options) {
  std::vector<IdRange> out;
  if (options.modality == "text") out = spec.masked_ids;
  if (options.modality != "text" && spec.image_ids.empty()) {
    fail(ErrorKind::kMismatch, "generate",
         "expected a model of text and images for --modality " + options.modality + ", found a " +
             spec.model_type);
  }
  if (options.modality == "image") out = other_ids(spec.image_ids, spec.vocab);
  if (options.allowed_ids.empty()) return out;
  for (const auto& [first, last] : options.allowed_ids) {
    if (first < 0 || first >= last || last > spec.vocab) {
      fail(ErrorKind::kUsage, "generate",
           "expected --allow-ids from 0 to " + std::to_string(spec.vocab - 1) + ", found " +
               std::to_string(first) + "-" + std::to_string(last - 1));
    }
  }
  const auto others = other_ids(options.allowed_ids, spec.vocab);
  out.insert(out.end(), others.begin(), others.end());
  if (other_ids(out, spec.vocab).empty()) {
    fail(ErrorKind::kUsage, "generate",
         "expected --allow-ids to leave a token to say, found only ids that --modality " +
             options.modality + " rules out");
  }
  return out;
}

TokenLogprob token_logprob(std::span<const float> logits, std::int32_t id, std::int64_t top) {
  const auto most = static_cast<double>(std::ranges::max(logits));
  double sum = 0;
  for (const float logit : logits) sum += std::exp(static_cast<double>(logit) - most);
  const double normaliser = most + std::log(sum);
  const auto of = [&](std::int32_t each) {
    return static_cast<double>(logits[static_cast<std::size_t>(each)]) - normaliser;
  };
  TokenLogprob out{.said = {.id = id, .text = {}, .logprob = of(id)}, .top = {}};
  for (const std::int32_t each : best_ids(logits, static_cast<std::size_t>(top)))
    out.top.push_back({.id = each, .text = {}, .logprob = of(each)});
  return out;
}

}  // namespace lancet
