#pragma once
// How fast the layers of a student are here and now: each shape of its matrices, with the factors
// that it has, forwards and backwards for a moment.

#include <cstdint>

#include "model/lora.h"
#include "model/packed_matrix.h"
#include "model/row_form.h"
#include "model/spec.h"

namespace lancet {

struct LayerTimes {
  double blocks = 0;  ///< seconds of a token in all linear layers of the blocks, both ways
  double head = 0;    ///< seconds of a token in the head, both ways
  double speed = 0;   ///< operations a second in the largest layer of a block
  double slower = 1;  ///< how many times longer that layer takes with plain products
};

/// How layers lie in memory, and what products make of rows.
struct LayerForm {
  BaseQuant quant = BaseQuant::kNone;
  at::ScalarType dtype = at::kFloat;  ///< of matrices that are not quantised
  RowForm rows = RowForm::kPlain;
};

/// For micro-batches of `tokens`. Each shape takes a few tenths of a second; of several runs the
/// middle one counts.
[[nodiscard]] LayerTimes probe_layers(const DecoderSpec& spec, const LoraAdapter& adapter,
                                      std::int64_t tokens, const LayerForm& form);

}  // namespace lancet
