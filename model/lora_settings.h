#pragma once
// Where low-rank parts are put and how they begin, and what a model is given of them. No LibTorch
// here.

#include <cstdint>
#include <memory>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

namespace lancet {

struct LowRank;
/// By the name of the module, as the Decoder's own weights are named (model/lora.h).
using LoraParts = std::unordered_map<std::string, std::shared_ptr<const LowRank>>;

/// kKaiming: A uniform in +-1 / sqrt(d_in), B zero (PEFT's default). kGaussian: A normal with
/// deviation 1 / rank, B zero.
enum class LoraInit { kKaiming, kGaussian };

struct LoraSettings {
  /// Names that a module is or ends in after a dot; one expression that its whole name matches
  /// where `expression` is set; {"all-linear"}: all but experts and the head.
  std::vector<std::string> targets{"all-linear"};
  bool expression = false;
  std::vector<std::int64_t> layers;  ///< only these; empty = all
  std::int64_t rank = 16;            ///< >= 1
  double alpha = 32;                 ///< > 0
  double dropout = 0;                ///< [0, 1)
  bool rank_stabilised = false;      ///< scale alpha / sqrt(rank) instead of alpha / rank
  /// Expression -> value: a module whose name or whose end after a dot matches; the first one that
  /// does.
  std::vector<std::pair<std::string, std::int64_t>> rank_pattern;
  std::vector<std::pair<std::string, double>> alpha_pattern;
  LoraInit init = LoraInit::kKaiming;
};

}  // namespace lancet
