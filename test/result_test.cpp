#include <leat/result.hpp>

#include "support/counted.hpp"

#include <doctest/doctest.h>

#include <exception>
#include <memory>
#include <ostream>
#include <stdexcept>
#include <string>
#include <type_traits>
#include <utility>

using leat::errc;
using leat::result;

namespace {

class no_default {
public:
    explicit no_default(int v) noexcept : value{v}
    {
    }
    int value;
};

}  // namespace

// A value that does not exist can not be made up; only void has one by default.
static_assert(std::is_default_constructible_v<result<void>>);
static_assert(!std::is_default_constructible_v<result<int>>);
static_assert(!std::is_copy_constructible_v<result<std::unique_ptr<int>>>);
static_assert(std::is_move_constructible_v<result<std::unique_ptr<int>>>);
static_assert(std::is_same_v<decltype(*std::declval<result<int&>&>()), int&>);
static_assert(std::is_same_v<decltype(*std::declval<result<int>&>()), int&>);
static_assert(std::is_same_v<decltype(*std::declval<const result<int>&>()), const int&>);
static_assert(std::is_same_v<decltype(*std::declval<result<int>>()), int&&>);

TEST_CASE("result: a value is had by value(), * and ->")
{
    result<std::string> got{"words"};
    REQUIRE(got.has_value());
    CHECK(static_cast<bool>(got));
    CHECK(got.value() == "words");
    CHECK(*got == "words");
    CHECK(got->size() == 5);
    CHECK(std::as_const(got)->size() == 5);
    CHECK(!got.error());
    CHECK(got.exception() == nullptr);
    *got += "!";
    const std::string taken = *std::move(got);
    CHECK(taken == "words!");
}

TEST_CASE("result: an rvalue's value is moved out, not copied")
{
    const test::no_more_than_before lives;
    {
        const int copies = test::counted::copies();
        result<test::counted> got{test::counted{7}};
        const test::counted taken = std::move(got).value();
        CHECK(taken.value == 7);
        CHECK(test::counted::copies() == copies);
    }
    CHECK(lives.excess() == 0);
}

TEST_CASE("result: void, references, move-only values and values without a default")
{
    const result<> nothing;
    CHECK(nothing.has_value());
    nothing.value();

    int original = 1;
    result<int&> reference{original};
    reference.value() = 2;
    CHECK(original == 2);
    CHECK(&*reference == &original);

    result<std::unique_ptr<int>> owner{std::make_unique<int>(3)};
    CHECK(**owner == 3);
    const std::unique_ptr<int> taken = std::move(owner).value();
    CHECK(*taken == 3);

    const result<no_default> made{no_default{4}};
    CHECK(made->value == 4);
}

TEST_CASE("result: a code is thrown as the exception that belongs to it")
{
    const result<int> cancelled{errc::cancelled};
    CHECK(!cancelled.has_value());
    CHECK(cancelled.error() == errc::cancelled);
    CHECK(cancelled.exception() == nullptr);
    CHECK_THROWS_AS(static_cast<void>(cancelled.value()), leat::cancelled_error);
    CHECK_THROWS_AS(static_cast<void>(result<int&>{errc::deadline_exceeded}.value()), leat::timed_out_error);
    CHECK_THROWS_AS(result<>{errc::channel_closed}.value(), leat::channel_closed_error);
    CHECK_THROWS_AS(result<>{std::make_error_code(std::errc::io_error)}.value(), std::system_error);
}

TEST_CASE("result: a value may be a code or an exception itself")
{
    const result<std::error_code> value{std::in_place, make_error_code(errc::cancelled)};
    REQUIRE(value.has_value());
    CHECK(*value == errc::cancelled);
    CHECK(!value.error());
    const result<std::error_code> failure{make_error_code(errc::cancelled)};
    CHECK(!failure.has_value());
    const result<std::exception_ptr> kept{std::in_place, nullptr};
    CHECK(kept.has_value());
}

TEST_CASE("result: an exception is kept, and thrown as often as it is asked for")
{
    const auto thrown = std::make_exception_ptr(std::out_of_range{"page 9"});
    const result<int> failed{thrown};
    CHECK(failed.error() == errc::failed);
    CHECK(failed.exception() == thrown);
    CHECK_THROWS_AS(static_cast<void>(failed.value()), std::out_of_range);
    CHECK_THROWS_AS(static_cast<void>(failed.value()), std::out_of_range);
    const result<> timed_out{std::make_exception_ptr(leat::timed_out_error{})};
    CHECK(timed_out.error() == std::errc::timed_out);
}

TEST_CASE("result: a failed result assigned a value has one, and the other way round")
{
    const test::no_more_than_before lives;
    {
        result<test::counted> it{errc::failed};
        it = test::counted{1};
        REQUIRE(it.has_value());
        CHECK(it->value == 1);
        it = errc::cancelled;
        CHECK(!it.has_value());
        CHECK(lives.excess() == 0);
    }
    CHECK(lives.excess() == 0);
}

namespace {

struct throws_when_moved {
    throws_when_moved() = default;
    throws_when_moved(throws_when_moved&&) noexcept(false)
    {
        throw std::runtime_error{"moved"};
    }
    throws_when_moved& operator=(throws_when_moved&&) = default;
};

}  // namespace

TEST_CASE("result: one whose assignment has thrown has no value, and says so")
{
    leat::result<throws_when_moved> got{make_error_code(leat::errc::channel_closed)};
    leat::result<throws_when_moved> had{std::in_place};
    CHECK_THROWS_AS(got = std::move(had), std::runtime_error);
    CHECK(!got.has_value());
    CHECK(got.error());
    CHECK_THROWS_AS(static_cast<void>(std::move(got).value()), std::system_error);
}
