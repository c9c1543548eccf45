#include "distill/curate_tally.h"

#include <algorithm>
#include <bit>

#include "core/text.h"
#include "distill/text/words.h"

namespace lancet {
namespace {

constexpr std::size_t kSampleBytes = 600;

/// At most kSampleBytes, whole characters.
std::string beginning(std::string_view text) {
  if (text.size() <= kSampleBytes) return std::string(text);
  std::size_t end = kSampleBytes;
  while (end > 0 && (static_cast<unsigned char>(text[end]) & 0xC0U) == 0x80U) --end;
  return std::string(text.substr(0, end)) + " ...";
}

}  // namespace

void LengthHistogram::add(std::size_t bytes) {
  ++counts[std::min<std::size_t>(std::bit_width(bytes), counts.size() - 1)];
}

Json LengthHistogram::json() const {
  Json rows = Json::array();
  std::size_t first = 0, end = counts.size();
  while (first < end && counts[first] == 0) ++first;
  while (end > first && counts[end - 1] == 0) --end;
  for (std::size_t i = first; i < end; ++i)
    rows.push_back({{"from", i == 0 ? 0 : 1ULL << (i - 1)}, {"rows", counts[i]}});
  return rows;
}

void FilterTally::drop(const Row& row, const std::string& place, const Drop& why) {
  ++rules_[why.rule];
  const std::uint64_t priority =
      mix64(seed_ * 0x9e3779b97f4a7c15ULL + index_ * 0xd1b54a32d192ed03ULL + dropped_++);
  const auto less = [](const Sample& a, const Sample& b) { return a.priority < b.priority; };
  if (samples_.size() == kSamples && priority >= samples_.back().priority) return;
  Sample sample{priority, place, why,
                beginning(row.turns.empty() ? std::string(row.raw) : row.text())};
  samples_.insert(std::upper_bound(samples_.begin(), samples_.end(), sample, less),
                  std::move(sample));
  if (samples_.size() > kSamples) samples_.pop_back();
}

Json FilterTally::json(bool samples) const {
  Json json{{"seen", seen_}, {"dropped", dropped_}, {"rules", Json::object()}};
  for (const auto& [rule, count] : rules_) json["rules"][rule] = count;
  if (!samples) return json;
  json["samples"] = Json::array();
  for (const Sample& sample : samples_)
    json["samples"].push_back({{"row", sample.place},
                               {"rule", sample.why.rule},
                               {"detail", sample.why.detail},
                               {"text", sample.text}});
  return json;
}

}  // namespace lancet
