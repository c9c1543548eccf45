#pragma once
// How fast the layers of a student are here and now: each shape of its matrices, with the factors
// that it has, forwards and backwards for a moment.

#include <cstdint>

#include "model/lora.h"
#include "model/packed_matrix.h"
#include "model/spec.h"

namespace lancet {

struct LayerTimes {
  double blocks = 0;  ///< seconds of a token in all linear layers of the blocks, both ways
  double head = 0;    ///< seconds of a token in the head, both ways
  double speed = 0;   ///< operations a second in the largest layer of a block
  double slower = 1;  ///< how many times longer that layer takes with float32 rows and weights
};

/// For micro-batches of `tokens`. Each shape takes a few tenths of a second; of several runs the
/// fastest counts, so that what others do on the machine at the same time does not. `pairs`: of
/// bfloat16 weights with rounded rows (LoadOptions::pairs).
[[nodiscard]] LayerTimes probe_layers(const DecoderSpec& spec, const LoraAdapter& adapter,
                                      std::int64_t tokens, BaseQuant quant, bool pairs);

}  // namespace lancet
