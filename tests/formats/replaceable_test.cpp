// What --force may remove, and what it may not.
#include "formats/replaceable.h"

#include "formats/adapter/peft_writer.h"
#include "tests/catch.h"
#include "tests/formats/scratch.h"

namespace lancet {
namespace {

struct Folders {
  Scratch scratch;

  void make(const std::string& folder, const std::vector<std::string>& files) {
    fs::create_directories(scratch / folder);
    for (const std::string& file : files) {
      fs::create_directories((scratch / folder / file).parent_path());
      write_file(scratch / folder / file, "x");
    }
  }

  std::string refusal(const std::string& folder, DirectoryKind kind = DirectoryKind::kModel) {
    try {
      check_replaceable(scratch / folder, kind);
    } catch (const Error& error) {
      CHECK(error.kind() == ErrorKind::kUsage);
      return error.message();
    }
    return "";
  }
};

const std::vector<std::string> kModelFiles{"config.json",
                                           "model-00001-of-00002.safetensors",
                                           "model.safetensors.index.json",
                                           "tokenizer.json",
                                           "README.md",
                                           "LICENSE",
                                           "modeling_x.py"};
const std::vector<std::string> kAdapterFiles{"adapter_config.json", "adapter_model.safetensors",
                                             "README.md", "tokenizer.json"};

}  // namespace

TEST_CASE_METHOD(Folders, "replaceable: a folder with anything but the model's files is kept") {
  make("model", kModelFiles);
  CHECK(refusal("model").empty());
  CHECK(refusal("nothing").empty());
  make("empty", {});
  CHECK(refusal("empty").empty());
  for (const std::string strange : {"thesis.txt", "keepme/notes.txt", "runs.json", ".git/HEAD",
                                    "stats.safetensors", "adapter_config.json"}) {
    INFO(strange);
    fs::remove_all(scratch / "model");
    make("model", kModelFiles);
    make("model", {strange});
    const std::string first = *fs::path(strange).begin();
    CHECK_THAT(refusal("model"), Catch::Contains("'" + first + "', which is no part of a model"));
  }
  // Nor one that only has something of a model: an application's config.json.
  make("app", {"config.json", "README.md"});
  CHECK_THAT(refusal("app"), Catch::Contains("holds no model"));
}

TEST_CASE_METHOD(Folders, "replaceable: what lancet.json lists goes with the model") {
  make("edited", kModelFiles);
  make("edited", {"lancet.undo.safetensors"});
  CHECK_FALSE(refusal("edited").empty());
  write_file(scratch / "edited/lancet.json",
             R"({"outputs": [{"file": "lancet.undo.safetensors", "bytes": 1, "sha256": ""}]})");
  CHECK(refusal("edited").empty());
  write_file(scratch / "edited/lancet.json", "torn");
  CHECK_FALSE(refusal("edited").empty());
}

TEST_CASE_METHOD(Folders, "replaceable: an adapter replaces an adapter, and no model or papers") {
  make("adapter", kAdapterFiles);
  CHECK(refusal("adapter", DirectoryKind::kAdapter).empty());
  CHECK_THAT(refusal("adapter"), Catch::Contains("holds no model"));
  make("model", kModelFiles);
  CHECK_THAT(refusal("model", DirectoryKind::kAdapter), Catch::Contains("holds no adapter"));
  make("adapter", {"checkpoints/1/adapter_config.json"});
  CHECK_THAT(refusal("adapter", DirectoryKind::kAdapter), Catch::Contains("'checkpoints'"));
  make("papers", {"thesis.txt"});
  const auto save = [&](const std::string& folder) {
    AdapterFile file;
    file.modules.push_back({"model.q", LoraModule::Kind::kLinear, 1, 1, 1, {1.0F}, {1.0F}, {}});
    save_adapter(scratch / folder, std::move(file), true);
  };
  for (const std::string folder : {"papers", "model", "adapter"})
    CHECK_THROWS_AS(save(folder), Error);
  CHECK(read_file(scratch / "papers/thesis.txt") == "x");
  fs::remove_all(scratch / "adapter/checkpoints");
  CHECK_NOTHROW(save("adapter"));
}

TEST_CASE_METHOD(Folders, "replaceable: an output that is an input, or holds one, is refused") {
  make("model", kModelFiles);
  make("adapter", kAdapterFiles);
  fs::create_directory_symlink(scratch / "model", scratch / "link");
  const auto refused = [&](const fs::path& out, const fs::path& input) {
    try {
      check_not_input("merge", out, {scratch / "other", input});
    } catch (const Error& error) {
      CHECK(error.kind() == ErrorKind::kUsage);
      return true;
    }
    return false;
  };
  CHECK(refused(scratch / "model", scratch / "model/"));
  CHECK(refused(scratch / "model", scratch / "link"));
  CHECK(refused(scratch / "link", scratch / "model"));
  CHECK(refused(scratch / "model", scratch / "model/model.safetensors.index.json"));
  CHECK(refused(scratch / "adapter",
                (scratch / "model").string() + "+" + (scratch / "adapter").string()));
  make("linked", {"config.json"});
  fs::create_symlink("../model/model-00001-of-00002.safetensors",
                     scratch / "linked/model.safetensors");
  CHECK(refused(scratch / "model", scratch / "linked"));
  CHECK_FALSE(refused(scratch / "linked/model.safetensors", scratch / "other"));
  CHECK_FALSE(refused(scratch / "model/inside", scratch / "model"));
  CHECK_FALSE(refused(scratch / "mode", scratch / "model"));
}

}  // namespace lancet
