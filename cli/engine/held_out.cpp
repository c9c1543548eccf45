// EngineImpl::held_out_loss: mean negative log likelihood of the tokens that training counts.

#include "distill/train/held_out.h"

#include <algorithm>
#include <numeric>

#include "cli/engine/engine_impl.h"
#include "core/interrupt.h"
#include "core/progress.h"
#include "distill/train/dataset.h"
#include "model/score.h"

namespace lancet {
namespace {

constexpr std::size_t kRows = 8;  ///< scored in one batch

/// Sum over the counted tokens of these rows.
double rows_nll(const Decoder& model, const std::vector<Example>& examples) {
  std::vector<std::pair<std::vector<std::int32_t>, std::vector<std::int32_t>>> pairs;
  for (const Example& example : examples) {
    const auto first = std::find(example.target.begin(), example.target.end(), 1);
    const auto cut = example.ids.begin() + (first - example.target.begin());
    pairs.emplace_back(std::vector(example.ids.begin(), cut), std::vector(cut, example.ids.end()));
  }
  const auto scores = score_continuations(model, pairs);
  double nll = 0;
  for (std::size_t i = 0; i < examples.size(); ++i) {
    const std::size_t skipped = pairs[i].first.size();
    for (std::size_t t = 0; t < scores[i].logprobs.size(); ++t) {
      if (examples[i].target[skipped + t] != 0) nll -= scores[i].logprobs[t];
    }
  }
  return nll;
}

}  // namespace

Json EngineImpl::held_out_loss(const HeldOutRequest& request, const RuntimeOptions& runtime) {
  const LoadedModel loaded = load_model(request.model, runtime);
  DatasetOptions options;
  options.max_length = request.max_length;
  options.overlong = parse_overlong(request.overlong);
  options.bad_rows = parse_bad_rows(request.bad_rows);
  options.as_chat = request.as_chat;
  options.ignored_keys = request.ignored_keys;
  options.eval_fraction = request.eval_fraction;
  const Dataset data = Dataset::load(request.rows, loaded.source, loaded.tokenizer, options);
  const auto held = request.eval_fraction > 0 ? data.eval_rows() : data.train_rows();
  std::vector<std::size_t> order(held.begin(), held.end());
  // Rows of about one length together: batches are padded.
  std::stable_sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) {
    return data.lengths()[a] < data.lengths()[b];
  });
  Progress progress("held-out loss", order.size(), Progress::Unit::kItems);
  double nll = 0;
  std::uint64_t targets = 0;
  for (std::size_t begin = 0; begin < order.size(); begin += kRows) {
    check_interrupted();
    std::vector<Example> examples;
    for (std::size_t i = begin; i < std::min(begin + kRows, order.size()); ++i) {
      examples.push_back(data.example(order[i]));
      targets += data.targets()[order[i]];
    }
    nll += rows_nll(loaded.decoder, examples);
    progress.advance(examples.size());
  }
  progress.finish();
  return {{"rows", order.size()},
          {"targets", targets},
          {"loss", targets > 0 ? Json(nll / static_cast<double>(targets)) : Json()}};
}

}  // namespace lancet
