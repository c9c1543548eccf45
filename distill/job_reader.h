#pragma once
// Typed access to the nodes of a job file, with line and column in every refusal.

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "core/json.h"
#include "core/yaml.h"
#include "distill/job.h"

namespace lancet {

class JobReader {
 public:
  JobReader(std::string source, std::filesystem::path folder)
      : source_(std::move(source)), folder_(std::move(folder)) {}

  [[noreturn]] void refuse(const Node& node, const std::string& message,
                           std::string hint = {}) const;
  void keys(const Node& mapping, const std::vector<std::string_view>& known) const {
    check_keys(mapping, known, source_);
  }
  [[nodiscard]] std::string text(const Node& node, std::string_view what) const;
  [[nodiscard]] bool flag(const Node& node, std::string_view what) const;
  [[nodiscard]] double number(const Node& node, std::string_view what, double least,
                              double most) const;
  [[nodiscard]] std::uint64_t whole(const Node& node, std::string_view what, std::uint64_t least,
                                    std::uint64_t most) const;
  [[nodiscard]] std::filesystem::path path(const Node& node, std::string_view what) const;
  /// A string, or a list of strings.
  [[nodiscard]] std::vector<std::string> texts(const Node& node, std::string_view what) const;
  /// The same as paths.
  [[nodiscard]] std::vector<std::filesystem::path> paths(const Node& node,
                                                         std::string_view what) const;
  /// YAML as JSON: unquoted scalars by their form.
  [[nodiscard]] Json json(const Node& node) const;

  [[nodiscard]] TeacherBlock teacher(const Node& node) const;
  [[nodiscard]] DataBlock data(const Node& node) const;
  /// Keys and values of `curate` or `train`, whatever they are called.
  [[nodiscard]] JobSettings settings(const Node& node, std::string_view what) const;
  [[nodiscard]] StudentBlock student(const Node& node) const;
  [[nodiscard]] EvaluateBlock evaluate(const Node& node) const;

 private:
  std::string source_;
  std::filesystem::path folder_;
  [[nodiscard]] Json sampling(const Node& node) const;
  void limits(const Node& node, TeacherBlock& out) const;
  [[nodiscard]] TokenPrices prices(const Node& node) const;
  void check_priced(const Node& teacher, const BudgetCaps& caps) const;
  void url(const Node& node, TeacherBlock& out) const;
  void logprobs(const Node& node, TeacherBlock& out) const;
  [[nodiscard]] DataOptions options(const Node& node, const DataRecipe& recipe) const;
};

}  // namespace lancet
