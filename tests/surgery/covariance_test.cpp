#include "surgery/covariance.h"

#include <set>

#include "core/error.h"
#include "core/parallel.h"
#include "model/runtime.h"
#include "surgery/key.h"
#include "tests/catch.h"
#include "tests/surgery/tiny_edit.h"

using namespace lancet;

namespace {

struct Loaded {
  ModelSource source;
  Tokenizer tokenizer;
  Decoder model;
};

Loaded load(const Scratch& scratch, const tiny_edit::Weights& weights,
            const std::string& name = "m") {
  tiny_edit::save(scratch / name, weights);
  ModelSource source = ModelSource::open(scratch / name);
  Tokenizer tokenizer = Tokenizer::open(source);
  Decoder model = Decoder::load(source);
  return {std::move(source), std::move(tokenizer), std::move(model)};
}

CovarianceText text_of(const Scratch& scratch, const std::string& text) {
  write_file(scratch / "text.txt", text);
  return {scratch / "text.txt", 16, 0};
}

std::string sample_text() {
  std::string text;
  for (int i = 0; i < 40; ++i)
    text +=
        std::string(i % 3 == 0 ? "the ab c the a b" : "c a b the") + (i % 4 == 0 ? "\n\n" : " b ");
  return text;
}

}  // namespace

TEST_CASE("covariance: every field of the identity changes the key") {
  const CovarianceIdentity base{"w", "c", "t", "x", 3, 512, 0, "Float", "cpu", 1};
  std::vector<CovarianceIdentity> all(11, base);
  all[1].weights_sha256 = "w2";
  all[2].config_sha256 = "c2";
  all[3].tokenizer_sha256 = "t2";
  all[4].text_sha256 = "x2";
  all[5].layer = 4;
  all[6].window = 256;
  all[7].max_tokens = 100;
  all[8].dtype = "BFloat16";
  all[9].backend = "cuda";
  all[10].version = 2;
  std::set<std::string> keys;
  for (const auto& identity : all) keys.insert(identity.key());
  CHECK(keys.size() == all.size());
  CHECK(base.json().size() == all.size() - 1);  // a new field needs a line above
}

TEST_CASE("covariance: the identity sees the weights below and not the edited matrix") {
  const Scratch scratch;
  const auto weights = tiny_edit::weights(1);
  const Loaded plain = load(scratch, weights);
  const CovarianceText text = text_of(scratch, sample_text());
  const auto key = [&](const Decoder& model) {
    return covariance_identity(model, "c", plain.tokenizer, 1, text).key();
  };
  const std::string expected = key(plain.model);
  const auto changed = [&](const std::string& name) {
    return key(plain.model.with_weight(name, plain.model.weight(name) + 1)) != expected;
  };
  CHECK(changed("model.embed_tokens.weight"));
  CHECK(changed("model.layers.0.mlp.down_proj.weight"));
  CHECK(changed("model.layers.1.mlp.up_proj.weight"));
  CHECK(changed("model.layers.1.self_attn.q_proj.weight"));
  CHECK(changed("model.layers.1.post_attention_layernorm.weight"));
  CHECK_FALSE(changed("model.layers.1.mlp.down_proj.weight"));
  CHECK_FALSE(changed("model.layers.2.mlp.up_proj.weight"));
}

TEST_CASE("covariance: the matrix is the mean of k k^T, key by key") {
  const Scratch scratch;
  const Loaded loaded = load(scratch, tiny_edit::weights(2));
  const CovarianceText text =
      text_of(scratch, "the ab c\n\na b the c c\n\nthe a b c a b c the a b c the a b c a b c\n");
  std::int64_t tokens = 0;
  const at::Tensor matrix = collect_second_moment(loaded.model, loaded.tokenizer, 1, text, tokens);
  at::Tensor expected = at::zeros_like(matrix);
  std::int64_t count = 0;
  for (const char* document :
       {"the ab c", "a b the c c", "the a b c a b c the a b c the a b c a b c\n"}) {
    const auto ids = loaded.tokenizer.encode(document).ids;
    for (std::size_t first = 0; first < ids.size(); first += 16) {
      const std::size_t last = std::min(ids.size(), first + 16);
      for (std::size_t i = first; i < last; ++i) {
        const PromptRow row{{ids.begin() + static_cast<std::ptrdiff_t>(first),
                             ids.begin() + static_cast<std::ptrdiff_t>(last)},
                            static_cast<std::int64_t>(i - first)};
        const at::Tensor key = read_rows(loaded.model, {row}, 1, false).keys[0].to(at::kDouble);
        expected += at::outer(key, key);
        ++count;
      }
    }
  }
  CHECK(tokens == count);
  expected /= static_cast<double>(count);
  CHECK(((matrix - expected).norm() / expected.norm()).item<double>() < 1e-5);
}

TEST_CASE("covariance: the same bits for any number of threads, and from the cache") {
  const Scratch scratch;
  setenv("LANCET_CACHE", (scratch / "cache").c_str(), 1);
  const Loaded loaded = load(scratch, tiny_edit::weights(2));
  const CovarianceText text = text_of(scratch, sample_text());
  const int before = parallel::threads();
  std::vector<at::Tensor> found;
  for (const int threads : {1, 2, 4}) {
    parallel::set_threads(threads);
    std::int64_t tokens = 0;
    found.push_back(collect_second_moment(loaded.model, loaded.tokenizer, 1, text, tokens));
  }
  parallel::set_threads(before);
  CHECK(found[0].equal(found[1]));
  CHECK(found[0].equal(found[2]));
  const Covariance fresh = automatic_covariance(loaded.model, "c", loaded.tokenizer, 1, text);
  const Covariance cached = automatic_covariance(loaded.model, "c", loaded.tokenizer, 1, text);
  CHECK(fresh.matrix.equal(found[0]));
  CHECK(cached.matrix.equal(found[0]));
  CHECK(cached.tokens == fresh.tokens);
  for (const auto& entry : fs::directory_iterator(scratch / "cache" / "covariance"))
    write_file(entry.path(), "damaged");
  CHECK(automatic_covariance(loaded.model, "c", loaded.tokenizer, 1, text).matrix.equal(found[0]));
  unsetenv("LANCET_CACHE");
}

TEST_CASE("covariance: files of the wrong size, asymmetric or damaged are refused") {
  const Scratch scratch;
  const auto save = [&](const std::string& name, const std::vector<double>& values,
                        std::int64_t n) {
    std::vector<OutputTensor> tensors;
    tensors.push_back(
        {"layer.3.mom2", DType::kF64, {n, n}, [&](const std::function<void(Bytes)>& emit) {
           emit(std::as_bytes(std::span(values)));
         }});
    (void)save_safetensors(scratch / name, std::move(tensors), {});
  };
  save("good.safetensors", {2, 1, 1, 3}, 2);
  save("skew.safetensors", {2, 1, 0, 3}, 2);
  CHECK(read_covariance(scratch / "good.safetensors", 3, 2).matrix[1][1].item<double>() == 3);
  const auto kind = [&](const char* name, std::int64_t size) {
    try {
      (void)read_covariance(scratch / name, 3, size);
    } catch (const Error& error) {
      return error.kind();
    }
    return ErrorKind::kInternal;
  };
  CHECK(kind("good.safetensors", 4) == ErrorKind::kMismatch);
  CHECK(kind("skew.safetensors", 2) == ErrorKind::kNumeric);
  CHECK(kind("good.safetensors", 2) == ErrorKind::kInternal);  // read
  CHECK_THROWS_WITH(read_covariance(scratch / "good.safetensors", 4, 2),
                    Catch::Contains("layer 4, found those of 3"));
  write_file(scratch / "text.npz", "PK nothing");
  CHECK(kind("text.npz", 2) == ErrorKind::kInput);
  CHECK(kind("missing.npz", 2) == ErrorKind::kInput);
}

TEST_CASE("covariance: a name tells its layer, a count behind it does not") {
  CHECK(layer_in_name("model.layers.4.mlp.down_proj_float32_mom2_18.npz") == 4);
  CHECK(layer_in_name("transformer.h.17.mlp.c_proj_float32_mom2_100000.npz") == 17);
  CHECK(layer_in_name("h.3.mlp.c_proj") == 3);
  CHECK_FALSE(layer_in_name("stats.3.npz"));
  CHECK_FALSE(layer_in_name("layer4_mom2_18.npz"));
  CHECK_FALSE(layer_in_name("second_moment"));
}
