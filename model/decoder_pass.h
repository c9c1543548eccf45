#pragma once
// One pass through the blocks of a Decoder: what its layers share. For the decoder's own files.

#include <cstdint>
#include <vector>

#include <ATen/ATen.h>

#include "model/attention.h"
#include "model/decoder.h"
#include "model/ssm.h"

namespace lancet {

/// Position of the first token of each text: of each row, or of each segment of the only one.
[[nodiscard]] std::vector<std::int64_t> starts_of(const Pass& pass, std::int64_t batch);

/// Lives no longer than what it is made of.
class PassState {
 public:
  PassState(const DecoderSpec& spec, const std::vector<RopeCache>& ropes, const at::Tensor& hidden,
            const Pass& pass);

  /// For a layer on `device`.
  [[nodiscard]] const AttentionPass& attention(std::int64_t layer, const at::Tensor& sinks,
                                               at::Device device);
  [[nodiscard]] SsmPass state_space(std::int64_t layer) const;

 private:
  const DecoderSpec& spec_;
  const Pass& pass_;
  AttentionPass attention_;
  /// What layers of one RoPE on one device turn by.
  struct Turns {
    std::size_t rope;
    at::Device device;
    RopeRows rows;
    at::Tensor positions;  ///< as in AttentionPass
  };
  const Turns& turns(std::size_t rope, at::Device device);

  const std::vector<RopeCache>& ropes_;
  std::vector<RopeText> texts_;
  std::vector<Turns> turns_;
  std::int64_t tokens_ = 0;  ///< of a row
  bool cached_ = false, fused_ = false;
};

}  // namespace lancet
