// lancet diff: how two models differ, tensor by tensor.

#include <CLI/CLI.hpp>

#include "cli/common_options.h"
#include "cli/output.h"
#include "core/interrupt.h"
#include "core/progress.h"
#include "core/table.h"
#include "core/text.h"
#include "formats/layer_map.h"
#include "formats/replaceable.h"
#include "formats/statistics.h"

namespace lancet {
namespace {

struct DiffOptions {
  std::string a, b, html;
  std::size_t top = 20;
  bool check = false;
};

struct Row {
  std::string name;
  DType dtype_a, dtype_b;
  TensorDifference difference;

  [[nodiscard]] bool cast() const { return dtype_a != dtype_b; }
};

struct Comparison {
  std::vector<std::string> only_a, only_b;
  Json mismatched = Json::array();  ///< other shapes
  std::vector<Row> rows;            ///< all compared tensors, by name

  [[nodiscard]] bool identical() const {
    return only_a.empty() && only_b.empty() && mismatched.empty() &&
           std::all_of(rows.begin(), rows.end(),
                       [](const Row& r) { return r.difference.changed == 0 && !r.cast(); });
  }
};

Comparison compare(const ModelSource& a, const ModelSource& b) {
  Comparison out;
  std::uint64_t total = 0;
  for (const auto& tensor : a.tensors()) total += tensor.bytes;
  Progress progress("diff", total, Progress::Unit::kBytes);
  for (const auto& tensor : a.tensors()) {
    check_interrupted();
    const TensorInfo* other = b.find(tensor.name);
    if (other == nullptr) {
      out.only_a.push_back(tensor.name);
    } else if (other->shape != tensor.shape) {
      out.mismatched.push_back(
          {{"name", tensor.name}, {"shape_a", tensor.shape}, {"shape_b", other->shape}});
    } else {
      out.rows.push_back(
          {tensor.name, tensor.dtype, other->dtype, tensor_difference(a, tensor, b, *other)});
    }
    progress.advance(tensor.bytes);
  }
  for (const auto& tensor : b.tensors()) {
    if (a.find(tensor.name) == nullptr) out.only_b.push_back(tensor.name);
  }
  return out;
}

HeatMap heat_map(const Comparison& comparison) {
  std::vector<std::pair<std::string, double>> values;
  for (const auto& row : comparison.rows) values.emplace_back(row.name, row.difference.rel_norm);
  return layer_map("Relative change ||b - a|| / ||a||", "relative norm", values);
}

/// Those that differ in value or in dtype, most changed first.
std::vector<Row> changed_rows(const Comparison& comparison) {
  std::vector<Row> rows;
  for (const auto& row : comparison.rows) {
    if (row.difference.changed > 0 || row.cast()) rows.push_back(row);
  }
  std::stable_sort(rows.begin(), rows.end(), [](const Row& x, const Row& y) {
    return x.difference.rel_norm > y.difference.rel_norm;
  });
  return rows;
}

Json json(const Comparison& comparison) {
  Json tensors = Json::array(), dtypes = Json::array();
  for (const auto& row : changed_rows(comparison)) {
    const TensorDifference& d = row.difference;
    if (row.cast())
      dtypes.push_back({{"name", row.name},
                        {"dtype_a", dtype_info(row.dtype_a).name},
                        {"dtype_b", dtype_info(row.dtype_b).name}});
    if (d.changed == 0) continue;
    tensors.push_back({{"name", row.name},
                       {"rel_norm", d.rel_norm},
                       {"cosine", d.cosine},
                       {"max_abs", d.max_abs},
                       {"changed", d.changed}});
  }
  return {{"identical", comparison.identical()},
          {"only_a", comparison.only_a},
          {"only_b", comparison.only_b},
          {"mismatched", comparison.mismatched},
          {"compared", comparison.rows.size()},
          {"dtypes", dtypes},
          {"tensors", tensors}};
}

/// At most `top` lines, and how many more there are.
void add_lines(std::string& out, const std::vector<std::string>& lines, std::size_t top) {
  for (std::size_t i = 0; i < std::min(top, lines.size()); ++i) out += lines[i] + "\n";
  if (lines.size() > top) out += fmt::format("({} more; --top N shows them)\n", lines.size() - top);
}

/// "identical: 9 tensors", "1 of 9 tensors differ, 2 more in dtype alone".
std::string summary(const Comparison& comparison, const std::vector<Row>& rows) {
  const auto values = static_cast<std::size_t>(
      std::ranges::count_if(rows, [](const Row& row) { return row.difference.changed > 0; }));
  const std::size_t all = comparison.rows.size(), casts = rows.size() - values,
                    alone = comparison.only_a.size() + comparison.only_b.size(),
                    shapes = comparison.mismatched.size();
  if (comparison.identical()) return fmt::format("identical: {} tensors\n", all);
  std::string out = casts == all
                        ? fmt::format("{} tensors of equal values, stored in other dtypes", all)
                        : fmt::format("{} of {} tensors differ", values, all);
  if (casts > 0 && casts < all) out += fmt::format(", {} more in dtype alone", casts);
  if (shapes > 0) out += fmt::format(", {} in shape", shapes);
  if (alone > 0) out += fmt::format(", {} in one model alone", alone);
  return out + "\n";
}

std::string text(const Comparison& comparison, std::size_t top) {
  std::string out;
  std::vector<std::string> lines;
  for (const auto& name : comparison.only_a) lines.push_back("only in A: " + printable(name));
  for (const auto& name : comparison.only_b) lines.push_back("only in B: " + printable(name));
  for (const auto& row : comparison.mismatched)
    lines.push_back(fmt::format("other shape: {}, {} in A, {} in B",
                                printable(row["name"].get<std::string>()), row["shape_a"].dump(),
                                row["shape_b"].dump()));
  add_lines(out, lines, top);
  const auto rows = changed_rows(comparison);
  const bool casts = std::ranges::any_of(rows, &Row::cast);
  std::vector<Table::Column> columns{{"tensor"},
                                     {"rel norm", Table::Align::kRight},
                                     {"cosine", Table::Align::kRight},
                                     {"max abs", Table::Align::kRight},
                                     {"changed", Table::Align::kRight}};
  if (casts) columns.push_back({"dtype"});
  Table table(columns);
  for (std::size_t i = 0; i < std::min(top, rows.size()); ++i) {
    const auto& d = rows[i].difference;
    std::vector<std::string> cells{
        rows[i].name, fmt::format("{:.3g}", d.rel_norm), fmt::format("{:.6f}", d.cosine),
        fmt::format("{:.3g}", d.max_abs), fmt::format("{:.1f} %", 100 * d.changed)};
    if (casts)
      cells.push_back(rows[i].cast() ? fmt::format("{} -> {}", dtype_info(rows[i].dtype_a).name,
                                                   dtype_info(rows[i].dtype_b).name)
                                     : std::string(dtype_info(rows[i].dtype_a).name));
    table.add(std::move(cells));
  }
  out += table.text();
  if (rows.size() > top) out += fmt::format("({} more; --top N shows them)\n", rows.size() - top);
  return out + summary(comparison, rows);
}

std::uint64_t bytes_of(const ModelSource& source) {
  std::uint64_t bytes = 0;
  for (const MappedFile& file : source.checkpoint().files()) bytes += file.size();
  return bytes;
}

/// What would be read and written, from headers.
int print_plan(const DiffOptions& options, const ModelSource& a, const ModelSource& b, bool json) {
  const auto common =
      static_cast<std::size_t>(std::ranges::count_if(a.tensors(), [&](const TensorInfo& tensor) {
        const TensorInfo* other = b.find(tensor.name);
        return other != nullptr && other->shape == tensor.shape;
      }));
  const std::uint64_t bytes = bytes_of(a) + bytes_of(b);
  if (json) {
    print_json({{"plan", true},
                {"compared", common},
                {"bytes_read", bytes},
                {"output", options.html.empty() ? Json() : Json(options.html)}});
    return 0;
  }
  print_text(fmt::format("would compare {} tensors, read {}{}\n", common, human_bytes(bytes),
                         options.html.empty() ? "" : ", and draw " + options.html));
  return 0;
}

std::function<int()> declare(CLI::App& app, const CommonOptions& common) {
  auto options = std::make_shared<DiffOptions>();
  app.add_option("A", options->a, "A model")->required();
  app.add_option("B", options->b, "Another")->required();
  app.add_option("--top", options->top, "Tensors to show, most changed first (default 20)")
      ->check(whole_number());
  app.add_option("--html", options->html, "Draw the layer x module heat map into this file");
  app.add_flag("--check", options->check, "Exit 7 when they differ");
  return [options, &common] {
    if (!options->html.empty())
      check_place("diff", options->html, OutputKind::kFile, {options->a, options->b},
                  replaces(common.force, common.plan));
    const auto a = ModelSource::open(options->a), b = ModelSource::open(options->b);
    if (common.plan) return print_plan(*options, a, b, common.json);
    const Comparison comparison = compare(a, b);
    if (!options->html.empty()) {
      write_file(options->html, html_page("lancet diff", draw_heat_map(heat_map(comparison))));
    }
    if (common.json) {
      print_json(json(comparison));
    } else {
      print_text(text(comparison, options->top));
    }
    return options->check && !comparison.identical() ? static_cast<int>(ErrorKind::kGoal) : 0;
  };
}

}  // namespace

extern const Command command_diff{
    .name = "diff",
    .group = "Checkpoints",
    .summary = "How two models differ: names, shapes, dtypes, and each tensor's relative change",
    .examples =
        "  lancet diff model/ edited/\n  lancet diff model/ edited/ --html change.html --check",
    .declare = declare};

}  // namespace lancet
