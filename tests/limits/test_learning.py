"""What answers really need: the floor of a grant without a cap."""

from limits.learning import OutputNeeds

OTHERWISE = 1024


def test_nothing_is_known_of_a_model_that_never_answered() -> None:
    assert OutputNeeds().floor("ext-ada", "gpt-4o", OTHERWISE) == OTHERWISE


def test_a_longer_answer_raises_the_floor_at_once_with_headroom() -> None:
    needs = OutputNeeds()
    needs.learn("ext-ada", "gpt-4o", 100)

    needs.learn("ext-ada", "gpt-4o", 3000)

    assert needs.floor("ext-ada", "gpt-4o", OTHERWISE) == 6000


def test_short_answers_lower_the_floor_slowly() -> None:
    needs = OutputNeeds()
    needs.learn("ext-ada", "gpt-4o", 1000)
    floors = []

    for _ in range(200):
        needs.learn("ext-ada", "gpt-4o", 10)
        floors.append(needs.floor("ext-ada", "gpt-4o", OTHERWISE))

    assert floors == sorted(floors, reverse=True)
    assert floors[0] > 1900
    assert floors[-1] < 100


def test_another_users_first_call_is_judged_by_all_answers_of_the_model() -> None:
    needs = OutputNeeds()

    needs.learn("ext-ada", "gpt-4o", 500)

    assert needs.floor("ext-ben", "gpt-4o", OTHERWISE) == 1000
    assert needs.floor("ext-ben", "gpt-5", OTHERWISE) == OTHERWISE


def test_answers_of_nothing_still_leave_room_for_one_token() -> None:
    needs = OutputNeeds()

    needs.learn("ext-ada", "gpt-4o", 0)

    assert needs.floor("ext-ada", "gpt-4o", OTHERWISE) >= 1


def test_what_is_remembered_is_bounded() -> None:
    needs = OutputNeeds()
    needs.learn("ext-first", "gpt-4o", 10)

    for number in range(10_001):
        needs.learn(f"ext-{number}", f"model-{number}", 20)

    assert needs.floor("ext-first", "gpt-4o", OTHERWISE) == OTHERWISE
