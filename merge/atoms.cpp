#include "merge/atoms.h"

#include <algorithm>
#include <cmath>

#include "core/interrupt.h"
#include "core/parallel.h"
#include "merge/ops/correlate.h"
#include "merge/ops/vector.h"

namespace lancet {

Atoms::Atoms(const TensorReader& table, std::vector<std::uint32_t> rows, std::uint64_t memory)
    : table_(table),
      rows_(std::move(rows)),
      width_(static_cast<std::size_t>(table.shape().at(1))),
      norms_(rows_.size()) {
  const bool fits = bytes(rows_.size(), width_) <= memory;
  if (fits) held_.resize(rows_.size() * width_);
  parallel::for_each(tiles(), [&](std::size_t t) {
    check_interrupted();
    const std::size_t begin = t * kTile, count = std::min(kTile, size() - begin);
    std::vector<double> values(width_);
    for (std::size_t a = begin; a < begin + count; ++a) {
      read(a, values);
      norms_[a] = std::sqrt(ops::dot(values, values));
    }
    if (fits) decode(t, std::span(held_).subspan(begin * width_, count * width_));
  });
}

void Atoms::read(std::size_t atom, std::span<double> out) const {
  table_.read(rows_[atom] * static_cast<std::uint64_t>(width_), out);
}

void Atoms::decode(std::size_t tile, std::span<float> out) const {
  std::vector<double> values(width_);
  for (std::size_t a = 0; a * width_ < out.size(); ++a) {
    read(tile * kTile + a, values);
    std::ranges::transform(values, out.begin() + static_cast<std::ptrdiff_t>(a * width_),
                           [](double x) { return static_cast<float>(x); });
  }
}

std::span<const float> Atoms::tile(std::size_t tile, std::vector<float>& scratch) const {
  const std::size_t begin = tile * kTile * width_;
  const std::size_t count = std::min(kTile, size() - tile * kTile) * width_;
  if (!held_.empty()) return std::span(held_).subspan(begin, count);
  scratch.resize(count);
  decode(tile, scratch);
  return scratch;
}

namespace {

/// An inner product as a cosine.
std::int16_t stored(float product, double norms) {
  const double cosine = norms > 0 ? static_cast<double>(product) / norms : 0;
  return static_cast<std::int16_t>(std::lround(std::clamp(cosine, -1.0, 1.0) * AtomCosines::kOne));
}

}  // namespace

AtomCosines::AtomCosines(const Atoms& atoms)
    : size_(atoms.size()),
      error_(ops::correlation_error(atoms.width()) + 0.51 / kOne),
      values_(size_ * size_) {
  parallel::for_each(atoms.tiles(), [&](std::size_t done) {
    check_interrupted();
    const std::size_t rows = atoms.tiles() - 1 - done;  // the longest first
    std::vector<float> here, there, products;
    const std::span<const float> right = atoms.tile(rows, here);
    for (std::size_t columns = 0; columns <= rows; ++columns) {
      const std::span<const float> left = atoms.tile(columns, there);
      products.resize(left.size() / atoms.width() * (right.size() / atoms.width()));
      ops::correlate(left, right, atoms.width(), products);
      fill(atoms, rows, columns, products);
    }
  });
}

AtomCosines::AtomCosines(const Atoms& atoms, std::vector<std::uint32_t> some)
    : size_(atoms.size()),
      error_(ops::correlation_error(atoms.width()) + 0.51 / kOne),
      some_(std::move(some)) {
  std::ranges::sort(some_);
  some_.erase(std::unique(some_.begin(), some_.end()), some_.end());
  values_.resize(some_.size() * size_);
  const std::size_t width = atoms.width();
  std::vector<float> own(some_.size() * width);
  parallel::for_each(some_.size(), [&](std::size_t s) {
    std::vector<float> scratch;
    const std::size_t atom = some_[s];
    const auto tile = atoms.tile(atom / Atoms::kTile, scratch);
    std::ranges::copy(tile.subspan(atom % Atoms::kTile * width, width),
                      own.begin() + static_cast<std::ptrdiff_t>(s * width));
  });
  parallel::for_each(atoms.tiles(), [&](std::size_t t) {
    std::vector<float> scratch;
    const auto tile = atoms.tile(t, scratch);
    const std::size_t count = tile.size() / width;
    std::vector<float> products(some_.size() * count);
    ops::correlate(tile, own, width, products);
    for (std::size_t i = 0; i < products.size(); ++i) {
      const std::size_t s = i / count, a = t * Atoms::kTile + i % count;
      values_[s * size_ + a] = stored(products[i], atoms.norm(some_[s]) * atoms.norm(a));
    }
  });
}

/// Both triangles from one tile of inner products.
void AtomCosines::fill(const Atoms& atoms, std::size_t rows, std::size_t columns,
                       std::span<const float> products) {
  const std::size_t top = rows * Atoms::kTile, left = columns * Atoms::kTile;
  const std::size_t width = std::min(Atoms::kTile, size_ - left);
  for (std::size_t r = 0; r * width < products.size(); ++r) {
    for (std::size_t c = 0; c < width; ++c) {
      const std::int16_t value =
          stored(products[r * width + c], atoms.norm(top + r) * atoms.norm(left + c));
      values_[(top + r) * size_ + left + c] = value;
      values_[(left + c) * size_ + top + r] = value;
    }
  }
}

}  // namespace lancet
