#include "model/score.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <numeric>
#include <span>

#include <ATen/Parallel.h>
#include <c10/core/InferenceMode.h>

#include "core/error.h"
#include "core/interrupt.h"
#include "core/progress.h"
#include "model/runtime.h"

namespace lancet {
namespace {

constexpr std::int64_t kJobTokens = 512;  ///< rows are put together up to this many padded tokens

/// A row of a pass: `ids` without its last token go in, tokens [first_target, ids.size()) are
/// scored.
struct Row {
  std::vector<std::int32_t> ids;
  std::int64_t first_target = 1;
  std::size_t text = 0;  ///< index of the text, or of the pair

  [[nodiscard]] std::int64_t inputs() const { return static_cast<std::int64_t>(ids.size()) - 1; }
};

using Job = std::vector<std::size_t>;  ///< indices of rows that share a pass

/// Rows of like length together, so that little is padded. Depends on the lengths alone.
std::vector<Job> make_jobs(const std::vector<Row>& rows) {
  std::vector<std::size_t> order(rows.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::ranges::stable_sort(
      order, [&](std::size_t a, std::size_t b) { return rows[a].inputs() > rows[b].inputs(); });
  std::vector<Job> jobs;
  std::int64_t width = 0;
  for (const std::size_t row : order) {
    if (jobs.empty() || static_cast<std::int64_t>(jobs.back().size() + 1) * width > kJobTokens) {
      jobs.emplace_back();
      width = rows[row].inputs();
    }
    jobs.back().push_back(row);
  }
  return jobs;
}

/// One pass: the scores of each row's targets.
void run_job(const Decoder& model, const std::vector<Row>& rows, const Job& job,
             std::vector<std::vector<TargetScore>>& out) {
  const c10::InferenceMode inference;
  const auto batch = static_cast<std::int64_t>(job.size());
  const std::int64_t width = rows[job.front()].inputs();
  const at::Tensor ids = at::zeros({batch, width}, at::kLong);
  std::vector<std::int64_t> lengths;
  std::vector<std::int64_t> positions;  // of the flattened hidden states that predict a target
  std::vector<std::int32_t> targets;
  for (std::int64_t b = 0; b < batch; ++b) {
    const Row& row = rows[job[static_cast<std::size_t>(b)]];
    std::copy_n(row.ids.begin(), row.inputs(), ids.mutable_data_ptr<std::int64_t>() + b * width);
    lengths.push_back(row.inputs());
    for (std::int64_t t = row.first_target; t <= row.inputs(); ++t) {
      positions.push_back(b * width + t - 1);
      targets.push_back(row.ids[static_cast<std::size_t>(t)]);
    }
  }
  const at::Tensor hidden =
      model.run(model.embed(ids), 0, model.spec().layers,
                {.cache = nullptr, .append = false, .lengths = lengths, .hook = {}});
  const at::Tensor index = at::tensor(positions, at::kLong).to(hidden.device());
  const auto scores = model.score_targets(hidden.flatten(0, 1).index_select(0, index), targets);
  auto next = scores.begin();
  for (const std::size_t row : job) {
    const auto count = rows[row].inputs() + 1 - rows[row].first_target;
    out[row].assign(next, next + count);
    next += count;
  }
}

/// All rows; several jobs side by side where there are enough of them, else LibTorch's pool inside
/// each.
std::vector<std::vector<TargetScore>> run_rows(const Decoder& model, const std::vector<Row>& rows,
                                               Progress* progress) {
  std::vector<std::vector<TargetScore>> out(rows.size());
  const std::vector<Job> jobs = make_jobs(rows);
  const auto count = static_cast<std::int64_t>(jobs.size());
  const auto body = [&](std::int64_t i) {
    check_interrupted();
    const Job& job = jobs[static_cast<std::size_t>(i)];
    run_job(model, rows, job, out);
    std::uint64_t done = 0;
    for (const std::size_t row : job) done += out[row].size();
    if (progress != nullptr) progress->advance(done);
  };
  const bool side_by_side = model.options().device().is_cpu() && count >= at::get_num_threads();
  if (side_by_side) {
    for_each_chunk(count, body);
  } else {
    for (std::int64_t i = 0; i < count; ++i) body(i);
  }
  return out;
}

/// Windows of one text: inputs [begin, begin + window), each token scored by the first window that
/// predicts it.
void add_windows(const std::vector<std::int32_t>& ids, std::int64_t window, std::int64_t stride,
                 std::size_t text, std::vector<Row>& rows) {
  const auto size = static_cast<std::int64_t>(ids.size());
  std::int64_t scored = 1;  // tokens before this one are scored, or context only
  for (std::int64_t begin = 0; scored < size; begin += stride) {
    const std::int64_t end = std::min(begin + window + 1, size);
    rows.push_back({{ids.begin() + begin, ids.begin() + end}, scored - begin, text});
    scored = end;
  }
}

std::pair<std::int64_t, std::int64_t> window_of(const Decoder& model, const ScoreRequest& request) {
  const std::int64_t window = request.window > 0
                                  ? request.window
                                  : std::min<std::int64_t>(model.spec().max_positions, 2048);
  const std::int64_t stride = request.stride > 0 ? request.stride : window;
  if (request.window < 0 || request.stride < 0 || stride > window) {
    fail(ErrorKind::kUsage, "score",
         "expected 1 <= stride <= window, found stride " + std::to_string(request.stride) +
             " and window " + std::to_string(request.window));
  }
  return {window, stride};
}

}  // namespace

ScoreResult score(const Decoder& model, const Tokenizer& tokenizer, const ScoreRequest& request) {
  const auto [window, stride] = window_of(model, request);
  std::vector<Row> rows;
  for (std::size_t i = 0; i < request.texts.size(); ++i) {
    add_windows(tokenizer.encode(request.texts[i]).ids, window, stride, i, rows);
  }
  ScoreResult result;
  for (const Row& row : rows) result.tokens += row.inputs() + 1 - row.first_target;
  if (result.tokens == 0) {
    fail(ErrorKind::kInput, "score",
         "expected a text of at least two tokens, found nothing to predict");
  }
  const auto begin = std::chrono::steady_clock::now();
  Progress progress("score", static_cast<std::uint64_t>(result.tokens), Progress::Unit::kTokens);
  const auto scores = run_rows(model, rows, &progress);
  progress.finish();
  const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - begin;
  double sum = 0;
  for (std::size_t i = 0; i < rows.size(); ++i) {
    for (std::size_t t = 0; t < scores[i].size(); ++t) {
      sum -= scores[i][t].logprob;
      if (!request.per_token) continue;
      const std::int32_t id = rows[i].ids[static_cast<std::size_t>(rows[i].first_target) + t];
      result.per_token.push_back(
          {id, tokenizer.decode({id}, false), scores[i][t].logprob, scores[i][t].rank});
    }
  }
  result.nll = sum / static_cast<double>(result.tokens);
  result.perplexity = std::exp(result.nll);
  result.tokens_per_second = static_cast<double>(result.tokens) / seconds.count();
  if (!std::isfinite(result.nll)) {
    fail(ErrorKind::kNumeric, "score", "expected finite log probabilities, found NaN or infinity",
         "the weights may be damaged: lancet inspect MODEL --stats");
  }
  return result;
}

std::vector<TextScore> score_each(const Decoder& model, const Tokenizer& tokenizer,
                                  const std::vector<std::string>& texts) {
  const auto [window, stride] = window_of(model, {});
  std::vector<Row> rows;
  for (std::size_t i = 0; i < texts.size(); ++i)
    add_windows(tokenizer.encode(texts[i]).ids, window, stride, i, rows);
  std::vector<TextScore> out(texts.size());
  if (rows.empty()) return out;
  const auto scores = run_rows(model, rows, nullptr);
  for (std::size_t i = 0; i < rows.size(); ++i) {
    TextScore& text = out[rows[i].text];
    for (const TargetScore& score : scores[i]) text.nll -= score.logprob;
    text.tokens += static_cast<std::int64_t>(scores[i].size());
  }
  return out;
}

std::vector<ContinuationScore> score_continuations(
    const Decoder& model,
    const std::vector<std::pair<std::vector<std::int32_t>, std::vector<std::int32_t>>>& pairs) {
  std::vector<Row> rows;
  for (std::size_t i = 0; i < pairs.size(); ++i) {
    const auto& [context, target] = pairs[i];
    if (context.empty()) {
      fail(ErrorKind::kInput, "score",
           "expected at least one token of context, found none (pair " + std::to_string(i) + ")");
    }
    if (target.empty()) continue;
    Row row{context, static_cast<std::int64_t>(context.size()), i};
    row.ids.insert(row.ids.end(), target.begin(), target.end());
    rows.push_back(std::move(row));
  }
  std::vector<ContinuationScore> out(pairs.size());
  if (rows.empty()) return out;
  const auto scores = run_rows(model, rows, nullptr);
  for (std::size_t i = 0; i < rows.size(); ++i) {
    for (const TargetScore& score : scores[i]) {
      out[rows[i].text].logprobs.push_back(score.logprob);
      out[rows[i].text].ranks.push_back(score.rank);
    }
  }
  return out;
}

}  // namespace lancet
