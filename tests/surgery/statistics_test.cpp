// `covariance`: several layers in one pass, resuming, ROME's files.
#include "surgery/statistics/run.h"

#include "core/error.h"
#include "core/parallel.h"
#include "formats/containers/npz.h"
#include "model/runtime.h"
#include "surgery/covariance.h"
#include "surgery/edit_session.h"
#include "surgery/key.h"
#include "surgery/statistics/checkpoint.h"
#include "surgery/statistics/imports.h"
#include "tests/catch.h"
#include "tests/surgery/locate/tiny_locate.h"
#include "tests/surgery/tolerances.h"

using namespace lancet;

namespace {

std::string sample_text() {
  std::string text;
  for (int i = 0; i < 60; ++i)
    text +=
        std::string(i % 3 == 0 ? "the ab c the a b" : "c a b the") + (i % 4 == 0 ? "\n\n" : " b ");
  return text;
}

/// A corpus that ends its groups where the test says, and may be killed before one.
class Scripted final : public Corpus {
 public:
  explicit Scripted(std::size_t killed_at = SIZE_MAX) : killed_at_(killed_at) {}
  std::vector<std::string> next() override {
    if (at_ == killed_at_) throw std::runtime_error("killed");
    static const std::vector<std::vector<std::string>> kGroups{
        {"the ab c", "a b the c c"}, {"c c the ab a b c the"}, {"ab"}, {"the the a", "b c ab c"}};
    return at_ < kGroups.size() ? kGroups[at_++] : std::vector<std::string>{};
  }
  void skip() override { ++at_; }
  [[nodiscard]] Json identity() const override { return {{"scripted", true}}; }

 private:
  std::size_t killed_at_, at_ = 0;
};

Moments collect(const tiny_locate::Loaded& loaded, Corpus& corpus, const fs::path& checkpoint,
                std::int64_t& resumed, const Json& identity = {{"id", 1}}) {
  return collect_moments(loaded.model, loaded.tokenizer, {0, 2}, corpus, identity,
                         {.window = 4, .checkpoint = checkpoint, .checkpoint_seconds = 0}, resumed);
}

}  // namespace

TEST_CASE("statistics: several layers in one pass are the sums of k k^T, key by key") {
  const auto loaded = tiny_locate::load(41);
  Scripted corpus;
  std::int64_t resumed = 0;
  const Moments found = collect(loaded, corpus, {}, resumed);
  CHECK(found.documents == 6);
  std::int64_t count = 0;
  std::vector<at::Tensor> expected(2);
  for (const char* document :
       {"the ab c", "a b the c c", "c c the ab a b c the", "ab", "the the a", "b c ab c"}) {
    const auto ids = loaded.tokenizer.encode(document).ids;
    for (std::int64_t i = 0; i < std::ssize(ids); ++i, ++count) {
      const std::int64_t first = i / 4 * 4, last = std::min(std::ssize(ids), first + 4);
      const PromptRow row{{ids.begin() + first, ids.begin() + last}, i - first};
      for (const std::size_t which : {0U, 1U}) {
        const at::Tensor key =
            read_rows(loaded.model, {row}, which == 0 ? 0 : 2, false).keys[0].to(at::kDouble);
        const at::Tensor own = at::outer(key, key);
        expected[which] = expected[which].defined() ? expected[which] + own : own;
      }
    }
  }
  CHECK(found.tokens == count);
  for (const std::size_t which : {0U, 1U})
    CHECK(((found.sums[which] - expected[which]).norm() / expected[which].norm()).item<double>() <
          tolerance::kForward);
}

TEST_CASE("statistics: a killed run goes on where it was and gives the same bits") {
  const Scratch scratch;
  const auto loaded = tiny_locate::load(42);
  std::int64_t resumed = 0;
  Scripted whole_corpus;
  const Moments whole = collect(loaded, whole_corpus, {}, resumed);
  for (const std::size_t killed_at : {1U, 2U, 3U}) {
    const fs::path checkpoint = scratch / ("partial" + std::to_string(killed_at));
    Scripted killed(killed_at);
    CHECK_THROWS_WITH(collect(loaded, killed, checkpoint, resumed), "killed");
    REQUIRE(fs::exists(checkpoint));
    Scripted rest;
    const Moments found = collect(loaded, rest, checkpoint, resumed);
    CHECK(resumed > 0);
    CHECK(found.tokens == whole.tokens);
    CHECK(found.documents == whole.documents);
    for (const std::size_t which : {0U, 1U}) CHECK(found.sums[which].equal(whole.sums[which]));
  }
}

TEST_CASE("statistics: a checkpoint of another run or a damaged one is not used") {
  const Scratch scratch;
  const auto loaded = tiny_locate::load(43);
  std::int64_t resumed = 0;
  Scripted killed(2);
  CHECK_THROWS(collect(loaded, killed, scratch / "p", resumed));
  Scripted other;
  (void)collect(loaded, other, scratch / "p", resumed, {{"id", 2}});
  CHECK(resumed == 0);
  write_file(scratch / "p", "damaged");
  Scripted again;
  (void)collect(loaded, again, scratch / "p", resumed);
  CHECK(resumed == 0);
}

TEST_CASE("statistics: the same bits for any number of threads") {
  const auto loaded = tiny_locate::load(44);
  const int before = parallel::threads();
  std::vector<at::Tensor> sums;
  for (const int threads : {1, 2, 4}) {
    parallel::set_threads(threads);
    init_runtime();
    Scripted corpus;
    std::int64_t resumed = 0;
    sums.push_back(collect(loaded, corpus, {}, resumed).sums[1]);
  }
  parallel::set_threads(before);
  init_runtime();
  CHECK(sums[1].equal(sums[0]));
  CHECK(sums[2].equal(sums[0]));
}

// 60 pieces of text with a border behind every fourth from the first: 16 documents, and two lines.
TEST_CASE("statistics: files, limits, ROME's npz and back") {
  const Scratch scratch;
  tiny_edit::save(scratch / "m", tiny_edit::weights(45));
  write_file(scratch / "a.txt", sample_text());
  write_file(scratch / "b.jsonl", "{\"text\":\"the ab c\"}\n\n{\"text\":\"c the b\"}\n");
  CovarianceRequest request{.model = scratch / "m",
                            .layers = "0-1",
                            .texts = {scratch / "a.txt", scratch / "b.jsonl"},
                            .out = scratch / "s.safetensors",
                            .npz = scratch / "npz"};
  const Json all = run_covariance(request, {});
  const auto tokens = all["tokens"].get<std::int64_t>();
  CHECK(all["documents"] == 18);
  CHECK_FALSE(fs::exists(scratch / "s.safetensors.partial"));
  const Covariance direct = read_covariance(scratch / "s.safetensors", 1, tiny_edit::kFf);
  CHECK(direct.tokens == tokens);
  const fs::path npz = scratch / "npz" / "model.layers.1.mlp.down_proj_float32_mom2_18.npz";
  const Covariance from_npz = read_covariance(npz, 1, tiny_edit::kFf);
  CHECK(from_npz.tokens == tokens);
  CHECK(((from_npz.matrix - direct.matrix).norm() / direct.matrix.norm()).item<double>() < 1e-6);

  CovarianceRequest back{
      .model = scratch / "m", .layers = "1", .imports = {npz}, .out = scratch / "back.safetensors"};
  CHECK(run_covariance(back, {})["tokens"] == tokens);
  const Covariance read = read_covariance(scratch / "back.safetensors", 1, tiny_edit::kFf);
  CHECK(((read.matrix - from_npz.matrix).norm() / direct.matrix.norm()).item<double>() < 1e-12);

  CHECK_THROWS_AS(run_covariance(request, {}), Error);  // the output stands already
  request.force = true;
  request.max_tokens = 50;
  CHECK(run_covariance(request, {})["tokens"] == 50);
  request.texts = {scratch / "missing.txt"};
  CHECK_THROWS_AS(run_covariance(request, {}), Error);
  write_file(scratch / "bad.jsonl", "{\"text\":\"a\"}\n{\"words\":\"b\"}\n");
  request.texts = {scratch / "bad.jsonl"};
  CHECK_THROWS_WITH(run_covariance(request, {}), Catch::Contains("bad.jsonl:2"));
  request.self_generated = 10;
  CHECK_THROWS_WITH(run_covariance(request, {}), Catch::Contains("found 2"));
  write_file(scratch / "empty.txt", "\n\n \n\n");
  CovarianceRequest empty{.model = scratch / "m",
                          .layers = "0",
                          .texts = {scratch / "empty.txt"},
                          .out = scratch / "e.safetensors"};
  CHECK_THROWS_WITH(run_covariance(empty, {}), Catch::Contains("found none"));
}

TEST_CASE("statistics: of a layer of experts the keys of all of them stand side by side") {
  const Scratch scratch;
  tiny_edit::save(scratch / "m", tiny_edit::weights(47, true));
  write_file(scratch / "a.txt", "the ab c the a b c a b the c");
  constexpr std::int64_t kWidth = tiny_edit::kExperts * tiny_edit::kExpertFf;
  CovarianceRequest request{.model = scratch / "m",
                            .layers = "0-1",
                            .texts = {scratch / "a.txt"},
                            .out = scratch / "s.safetensors",
                            .npz = scratch / "npz"};
  request.plan = true;
  CHECK(run_covariance(request, {})["d_ff"] == kWidth);
  request.plan = false;
  (void)run_covariance(request, {});
  const SurgeryModel model = load_surgery_model(scratch / "m", {});
  for (const std::int64_t layer : {0, 1}) {
    std::int64_t tokens = 0;  // the way of `edit --covariance auto`
    const at::Tensor expected = collect_second_moment(model.decoder, model.tokenizer, layer,
                                                      {.path = scratch / "a.txt"}, tokens);
    const Covariance found = read_covariance(scratch / "s.safetensors", layer, kWidth);
    CHECK(found.tokens == tokens);
    CHECK(((found.matrix - expected).norm() / expected.norm()).item<double>() < 1e-6);
  }
  const fs::path npz =
      scratch / "npz" / "model.layers.1.block_sparse_moe.experts_float32_mom2_1.npz";
  const CovarianceRequest back{
      .model = scratch / "m", .layers = "1", .imports = {npz}, .out = scratch / "back.safetensors"};
  (void)run_covariance(back, {});
  CHECK(read_covariance(scratch / "back.safetensors", 1, kWidth).matrix.size(0) == kWidth);
}

TEST_CASE("statistics: imported files go to the layers that their names tell") {
  const Scratch scratch;
  tiny_edit::save(scratch / "m", tiny_edit::weights(47));
  write_file(scratch / "a.txt", sample_text());
  const CovarianceRequest collect{.model = scratch / "m",
                                  .layers = "0-2",
                                  .texts = {scratch / "a.txt"},
                                  .out = scratch / "s.safetensors",
                                  .npz = scratch / "npz"};
  const Json exported = run_covariance(collect, {})["exported"];
  std::vector<fs::path> files;
  for (const Json& path : exported) files.emplace_back(path.get<std::string>());
  const auto import = [&](const char* layers, const std::vector<fs::path>& imports) {
    CovarianceRequest request{.model = scratch / "m",
                              .layers = layers,
                              .imports = imports,
                              .out = scratch / "back.safetensors"};
    request.force = true;
    (void)run_covariance(request, {});
  };
  const auto kind = [&](const char* layers, const std::vector<fs::path>& imports) {
    try {
      import(layers, imports);
    } catch (const Error& error) {
      return error.kind();
    }
    return ErrorKind::kInternal;
  };
  import("1-2", {files[2], files[1]});
  for (const std::int64_t layer : {1, 2}) {
    const at::Tensor own = read_covariance(collect.out, layer, tiny_edit::kFf).matrix;
    const at::Tensor back =
        read_covariance(scratch / "back.safetensors", layer, tiny_edit::kFf).matrix;
    CHECK(((back - own).norm() / own.norm()).item<double>() < 1e-6);
  }
  CHECK(kind("1", {files[2]}) == ErrorKind::kMismatch);
  CHECK(kind("1-2", {files[1]}) == ErrorKind::kMismatch);
  CHECK(kind("1-2", {files[1], files[2], files[1]}) == ErrorKind::kMismatch);
  fs::copy(files[2], scratch / "two.npz");
  CHECK(import_order({scratch / "two.npz", files[1]}, {1, 2}) ==
        std::vector<fs::path>{files[1], scratch / "two.npz"});
  CHECK(kind("1-2", {files[1], scratch / "two.npz", scratch / "two.npz"}) == ErrorKind::kUsage);
  CovarianceRequest same = collect;
  same.npz = same.out = scratch / "both";
  CHECK_THROWS_WITH(run_covariance(same, {}), Catch::Contains("-o and --export-npz"));
}

TEST_CASE("statistics: text that the model writes is the same for a seed and ends at the tokens") {
  const Scratch scratch;
  tiny_edit::save(scratch / "m", tiny_edit::weights(46));
  std::vector<at::Tensor> found;
  for (const std::uint64_t seed : {1U, 1U, 2U}) {
    const fs::path out = scratch / ("s" + std::to_string(found.size()));
    RuntimeOptions runtime;
    runtime.seed = seed;
    const CovarianceRequest request{
        .model = scratch / "m", .layers = "1", .self_generated = 700, .out = out};
    CHECK(run_covariance(request, runtime)["tokens"] == 700);
    found.push_back(read_covariance(out, 1, tiny_edit::kFf).matrix);
  }
  CHECK(found[0].equal(found[1]));
  CHECK_FALSE(found[0].equal(found[2]));
}

TEST_CASE("statistics: a document ends with its last line, in the middle of a file or at its end") {
  const Scratch scratch;
  write_file(scratch / "a.txt", "the a b\n\n\nthe\nc\n\nab c\n");
  write_file(scratch / "b.txt", "ab c");
  const auto corpus = text_corpus({scratch / "a.txt", scratch / "b.txt"});
  CHECK(corpus->next() == std::vector<std::string>{"the a b", "the\nc", "ab c", "ab c"});
  CHECK(corpus->next().empty());
}
