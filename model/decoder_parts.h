#pragma once
// What a Decoder is bound to: views of its weights by their part in the pass. For the decoder's own
// files.

#include <vector>

#include "model/decoder.h"
#include "model/linear.h"
#include "model/norm.h"

namespace lancet {

struct Decoder::Block {
  Norm attn_norm, mlp_norm, q_norm, k_norm;
  std::vector<Linear> qkv;  ///< q, k, v
  Linear out;
  std::vector<Linear> inner;  ///< gate, up; without a gate: up alone
  Linear down;
};

/// What stands behind the last block.
struct Decoder::Ends {
  Norm final_norm;
  Linear head;
};

}  // namespace lancet
