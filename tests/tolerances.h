#pragma once
// Every tolerance of the tests, with its reason.

namespace lancet::tolerance {

// Logits against transformers in float32: two float32 programs that add in different orders.
// Float32 against float64 of such random models differs by up to 2e-5 at logits of standard
// deviation 1; some of ours have 6.
constexpr double kTinyLogits = 2e-4;

// Next tokens are compared only where transformers' best logit stands this far above its second.
constexpr double kGreedyGap = 2e-3;

// Two ways through our own float32 code that differ in the order of sums (cached keys, split
// passes, batches).
constexpr double kSameModel = 2e-5;

// A fused float32 operator against LibTorch's operators in float32, relative to the largest value.
constexpr double kOperator = 5e-6;

// A fused operator with bfloat16 values against float64 of the same inputs, relative to the largest
// value: up to three roundings to 8 bits, of 2^-9 each.
constexpr double kBFloat16 = 8e-3;

// Products of bfloat16 matrices in two orders of adding, relative to the largest: three such sums,
// each rounded to 8 bits where the other way rounds elsewhere.
constexpr double kBFloat16Products = 3e-2;

// Gradients of a few layers, relative to the largest, by two float32 programs.
constexpr double kPassGradient = 1e-4;

// Central differences of a float32 function: rounding of the function over the step, step 1e-2.
constexpr double kFiniteDifference = 5e-3;

// Logits of a tiny model whose activations are rounded to bfloat16 (8 bits: 2^-9 each) in front of
// every product, relative to the largest: a few roundings of random sign through 2 to 4 blocks.
constexpr double kRoundedActivations = 0.03;

// Log probabilities by slices of the vocabulary against log_softmax of the whole row in double.
constexpr double kLogProbability = 2e-5;

// A loss, relative to it (or to 1), from float32 logits against the float64 formula on the same
// logits: float32 logarithms of a few dozen probabilities are off by up to 3e-6 each.
constexpr double kLossValue = 5e-6;

// Its gradient with respect to hidden states, relative to the largest: float32 softmax, then a
// float32 product, against float64 and LibTorch's product.
constexpr double kLossGradient = 2e-5;

// Loss of a step of training against PyTorch's, relative, over 30 steps of two float32 programs.
constexpr double kTrainingLoss = 1e-4;
// The same rows packed and one by one, relative.
constexpr double kPackedLoss = 1e-5;

// AdamW in float32 against float64, 30 steps, relative to the way gone: a few units in the last
// place of parameters of size 1 each step, at steps of 1e-3.
constexpr double kOptimizer = 2e-4;
// With 8-bit states: a code is off by up to 3 % of the value, most of which averages out.
constexpr double kOptimizer8bit = 0.06;

// Chi-square with 4 degrees of freedom: exceeded by chance once in a million.
constexpr double kChiSquare4 = 35.0;

/// Weights of a matching pursuit in float64 against normal equations in long double: the systems
/// have condition numbers up to about 1e5.
constexpr double kPursuit = 1e-9;

}  // namespace lancet::tolerance
